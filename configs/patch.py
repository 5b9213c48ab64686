"""A voxel's Tmax from the curves of its 3 x 3 x 3 neighbourhood: 52,961 parameters.

Between the pointwise networks and the U-Net: neighbours average the noise away, and nothing farther off plays a part.
After the local regressors of McKinley et al. 2018 (doi:10.3389/fneur.2018.00717).

    python -m tmax_jax.main --config=configs/patch.py
    python -m tmax_jax.main --config=configs/patch.py:paper         stored units, all voxels, Adam 1e-3

On the quickstart's patients (simulated, 8 x 32 x 32; fold 0 of 3, 20 epochs): brain MSE 2.4 s², the training mean 5.1
s²; two and a half minutes on two busy CPU cores. With batch normalisation it was 19 s² (four patients a step, 1e-2).
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "patch"
    config.model = ConfigDict(
        {
            "name": "patch",
            "neighbourhood": 3,
            "features": (32, 32),
            "norm": "none",
            "dropout": 0.0,
            "dtype": "float32",
        }
    )
    config.optimizer.schedule = "cosine"
    return defaults.choose(config, variant, VARIANTS)


VARIANTS = {"paper": defaults.paper}
