"""The paper's modified 3-D U-Net: 13,123,329 parameters, three poolings, a sigmoid head.

Reproduces the paper's "U-Net" rows. A GPU is wanted at full size; on two CPU cores a step takes about a minute.

    python -m tmax_jax.main --config=configs/unet.py          sigmoid spans 0..20 s: it can reach the target
    python -m tmax_jax.main --config=configs/unet.py:paper    stored units: the sigmoid ends at 1 ms of 17199

Paper, Table I (their patients, stored units): MSE 214303 / 214270 / 214270 at 1e-5 / 1e-4 / 1e-3, flat because a
sigmoid cannot leave 0..1. README, "Why the paper's U-Net could not learn", shows the run.
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> ConfigDict:
    config = defaults.get_config()
    config.name = "unet"
    config.model = ConfigDict({"name": "unet", "head_activation": "sigmoid"})
    config.optimizer.learning_rate = 1e-4
    return defaults.choose(config, variant, {"paper": defaults.paper})
