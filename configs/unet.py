"""The paper's modified 3-D U-Net: 13,123,329 parameters, three poolings.

A GPU is wanted at full size; on two CPU cores a training step takes about a minute.

    python -m tmax_jax.main --config=configs/unet.py            Tmax in seconds, a linear head
    python -m tmax_jax.main --config=configs/unet.py:sigmoid    the paper's sigmoid head, spanning 0..20 s
    python -m tmax_jax.main --config=configs/unet.py:paper      the paper's set-up: the sigmoid ends at 1 ms of 17199

The head is linear by default because a sigmoid over 0..20 s starts at 10 s in every voxel; on its way down to brain's
2 s it easily overshoots to where it has no gradient left, and stays at 0.

Paper, Table I (their patients, stored units): MSE 214303 / 214270 / 214270 at 1e-5 / 1e-4 / 1e-3, flat because a
sigmoid cannot leave 0..1. README, "Why the paper's U-Net could not learn", shows the run.
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "unet"
    config.model = ConfigDict({"name": "unet", "head_activation": "linear"})
    config.optimizer.learning_rate = 1e-4
    return defaults.choose(config, variant, VARIANTS)


def sigmoid(config: defaults.Config) -> None:
    config.name += "-sigmoid"
    config.model.head_activation = "sigmoid"
    config.optimizer.learning_rate = 1e-5


def paper(config: defaults.Config) -> None:
    defaults.paper(config)
    config.model.head_activation = "sigmoid"


VARIANTS = {"sigmoid": sigmoid, "paper": paper}
