"""Does a regularised U-Net do better than the plain one? One thing is added at a time, then all of them.

    python -m tmax_jax.sweep --config=configs/ablations/unet_regularisation.py --config.data.store=cohort.zarr
    python -m tmax_jax.main --config=configs/ablations/unet_regularisation.py:group    one of its variants

The paper's outlook asks for dropout and batch normalisation. `plain` is `unet.py` with a linear head and targets in
seconds; `group`, `instance` and `batch` normalise (batch with four patients a step, since one patient has no statistics
that inference could share); `dropout` drops a tenth of the channels; `augment` varies the training cases; `decay` is
decoupled weight decay; `average` predicts with a moving average of the parameters; `all` is `unet_regularised.py`.

9 variants x (6 folds + 1), 13,123,329 parameters and more (572 GFLOP a patient and epoch at full size: a GPU's work).
A narrow U-Net at reduced size fits two CPU cores:

    --config.model.features="(8, 16, 32, 64)" --config.model.bottleneck=128
"""

from configs import unet_regularised
from tmax_jax import defaults

PLAIN = defaults.get_config()


def get_sweep() -> dict[str, defaults.Config]:
    sweep = {
        variant: plain()
        for variant in ("plain", "group", "instance", "batch", "dropout", "augment", "decay", "average")
    }
    sweep["all"] = unet_regularised.get_config()
    for norm in ("group", "instance", "batch"):
        sweep[norm].model.norm = norm
        sweep[norm].optimizer.learning_rate = 1e-3  # normalised layers stand ten times the plain U-Net's
    sweep["batch"].batch_size = 4
    sweep["dropout"].model.dropout = 0.1
    sweep["augment"].augment = unet_regularised.get_config().augment
    sweep["decay"].optimizer.weight_decay = 1e-2
    sweep["average"].ema_decay = 0.99
    return sweep


def plain() -> defaults.Config:
    """The network's fields and the schedule of `unet_regularised.py`, with everything that regularises turned off."""
    config = unet_regularised.get_config()
    config.model.norm, config.model.dropout = "none", 0.0
    config.augment, config.ema_decay = PLAIN.augment, PLAIN.ema_decay
    config.optimizer.learning_rate = 1e-4
    config.optimizer.weight_decay = 0.0
    return config


def get_config(variant: str = "") -> defaults.Config:
    return defaults.pick("unet_regularisation", get_sweep(), variant)
