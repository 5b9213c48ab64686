"""A pointwise network that sees what the physics makes of the signal: ablations of its input, against its plain twin.

Each variant has about as many parameters as the twin, `:signal`: where there are more channels, the first layer is
narrower. Parameters and running statistics in brackets.

    python -m tmax_jax.main --config=configs/hybrid.py                   concentration and residue function (7,365)
    python -m tmax_jax.main --config=configs/hybrid.py:signal            the twin: the signal alone (7,089)
    python -m tmax_jax.main --config=configs/hybrid.py:concentration     concentration alone (7,089)
    python -m tmax_jax.main --config=configs/hybrid.py:artery            and the artery's curve (7,365)
    python -m tmax_jax.main --config=configs/hybrid.py:aligned           both on a grid of seconds (7,315)
    python -m tmax_jax.main --config=configs/hybrid.py:maps              and classical maps (7,065)
    python -m tmax_jax.main --config=configs/hybrid.py:masks             and vessels, ventricles (7,062)
    python -m tmax_jax.main --config=configs/hybrid.py:everything        all of these but the grid (7,405)
"""

import functools

from ml_collections import ConfigDict

from tmax_jax import defaults

WIDTH = 32


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "hybrid"
    config.data.inputs = ("concentration", "residue")
    config.model = ConfigDict(
        {
            "name": "pointwise",
            "features": (20, *(WIDTH,) * 4),
            "activation": "relu",
            "norm": "batch",
            "dropout": 0.0,
            "dtype": "float32",
        }
    )
    config.epochs = 60
    config.batch_size = 1  # see pointwise.py
    config.optimizer.learning_rate = 1e-2
    config.optimizer.schedule = "cosine"
    return defaults.choose(config, variant, VARIANTS)


def see(config: defaults.Config, name: str, inputs: tuple[str, ...], width: int) -> None:
    config.name += f"-{name}"
    config.data.inputs = inputs
    config.model.features = (width, *(WIDTH,) * 4)


INPUTS = {  # channels, and the width of the first layer
    "signal": (("signal",), WIDTH),
    "concentration": (("concentration",), WIDTH),
    "artery": (("concentration", "aif"), 20),
    "aligned": (("aligned",), 18),
    "maps": (("concentration", "maps"), 30),
    "masks": (("concentration", "masks"), 31),
    "everything": (("concentration", "aif", "residue", "maps", "masks"), 13),
}
VARIANTS = {
    name: functools.partial(see, name=name, inputs=inputs, width=width) for name, (inputs, width) in INPUTS.items()
}
