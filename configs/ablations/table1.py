"""The paper's Table I: three networks, three learning rates, its own set-up, on patients of one's own.

    python -m tmax_jax.sweep --config=configs/ablations/table1.py --config.data.store=cohort.zarr
    python -m tmax_jax.main --config=configs/ablations/table1.py:unet-1e-3    one of its rows

Targets in stored units (milliseconds), unscaled; all voxels count; batches of one patient, Adam, 25 epochs, 6 folds.
The single layer sees intensities as the scanner stored them: the size of the paper's numbers wants that. In the other
two networks, batch normalisation at the input or saturation at the output hides the difference.

Its U-Net rows are flat because a sigmoid cannot leave 0..1 and the targets reach 17199: the best it can do is 1
everywhere, one millisecond, whatever the learning rate. That is nearly the row "predict zero", which is therefore in
every table, and the paper's best network beat it by five per cent.

9 variants x (6 folds + 1). At full size a GPU is wanted for the three of the U-Net (571 GFLOP a patient and epoch).
"""

from configs import one_layer, two_layer, unet
from tmax_jax import defaults

NETWORKS = {"one_layer": one_layer, "two_layer": two_layer, "unet": unet}
RATES = {"1e-5": 1e-5, "1e-4": 1e-4, "1e-3": 1e-3}
PAPER_MSE = {  # its Table I: all voxels, stored units, mean of six folds
    "one_layer": (162699887, 7046720, 3664168),
    "two_layer": (214097, 212887, 203112),
    "unet": (214303, 214270, 214270),
}
PRINTED = {f"{name}-{rate}": mse for name, row in PAPER_MSE.items() for rate, mse in zip(RATES, row, strict=True)}


def get_sweep() -> dict[str, defaults.Config]:
    sweep = {}
    for name, network in NETWORKS.items():
        for rate, learning_rate in RATES.items():
            config = network.get_config("paper")
            config.optimizer.learning_rate = learning_rate
            config.data.normalise = name != "one_layer"
            sweep[f"{name}-{rate}"] = config
    return sweep


def get_config(variant: str = "") -> defaults.Config:
    return defaults.pick("table1", get_sweep(), variant)
