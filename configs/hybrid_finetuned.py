"""The voxel's network of `simulated.py`, trained further on a cohort: 204,296 parameters.

It starts from what a run on simulated curves ended with, and learns the cohort's own maps. Its plain twin starts from
random parameters.

    python -m tmax_jax.main --config=configs/simulated.py
    python -m tmax_jax.main --config=configs/hybrid_finetuned.py --config.start_from=runs/simulated
    python -m tmax_jax.main --config=configs/hybrid_finetuned.py:scratch         the twin
    python -m tmax_jax.main --config=configs/hybrid_finetuned.py:regularised     estimates must give the measured curve
    python -m tmax_jax.main --config=configs/hybrid_finetuned.py:self_supervised     and no map is used
"""

from configs import simulated
from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "hybrid_finetuned"
    config.data.inputs = ("aligned",)
    config.target.scale_s = 1.0  # the network speaks in seconds
    config.model = simulated.get_config().model
    config.model.reads = "classical"  # the quantity of the cohort's maps
    config.start_from = "runs/simulated"
    config.epochs = 10
    config.optimizer.learning_rate = 2e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.clip_norm = 1.0
    return defaults.choose(config, variant, VARIANTS)


def scratch(config: defaults.Config) -> None:
    config.name += "-scratch"
    config.start_from = ""


def regularised(config: defaults.Config) -> None:
    config.name += "-regularised"
    config.loss.consistency = 0.1


def self_supervised(config: defaults.Config) -> None:
    config.name += "-self_supervised"
    config.loss.consistency = 1.0
    config.loss.target_weight = 0.0


VARIANTS = {"scratch": scratch, "regularised": regularised, "self_supervised": self_supervised}
