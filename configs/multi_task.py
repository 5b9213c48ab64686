"""Tmax, CBF, CBV and MTT from one network, a channel each: 7,188 parameters.

The paper asks for the same pipeline for other maps. The 6-layer pointwise network of `pointwise.py` gets three more
outputs; each map has a unit, and a scale that an output of 1 stands for. Losses are counted on the scaled values and
added with the weights given. The store must hold the maps: series whose headers name them are converted with the rest.

    python -m tmax_jax.simulate --out=phantom --patients=12 --maps=tmax,cbf,cbv,mtt
    python -m tmax_jax.main --config=configs/multi_task.py
    python -m tmax_jax.main --config=configs/multi_task.py:paper    stored units, all voxels, Adam 1e-3

Scores of Tmax stand in every table, those of the other maps (error, bias, agreement) in results_maps.csv.
"""

from ml_collections import ConfigDict

from configs import pointwise
from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = pointwise.get_config()
    config.name = "multi_task"
    config.target.further = ConfigDict(
        {
            "cbf": {"scale": 100.0, "weight": 0.3},  # ml/100 g/min
            "cbv": {"scale": 10.0, "weight": 0.3},  # ml/100 g
            "mtt": {"scale": 20.0, "weight": 0.3},  # s
        }
    )
    return defaults.choose(config, variant, VARIANTS)


VARIANTS = {"paper": defaults.paper}
