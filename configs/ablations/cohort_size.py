"""How many patients does it take? The same patients are scored by networks that learnt from 10, 20, 44, 100 or 145.

    python -m tmax_jax.sweep --config=configs/ablations/cohort_size.py --config.data.store=cohort.zarr
    python -m tmax_jax.main --config=configs/ablations/cohort_size.py:patients20    one of its variants

Of each fold's training patients those are taken that belong to the drawn 10, 20, ...; a larger draw holds the smaller.
A size that the store does not hold is recorded as such and stops no other: 44 need 45 patients with the holdout. Fewer
patients make fewer steps an epoch; the epochs grow to make up for it, up to four times those of 44 patients.

5 variants of the 6-layer pointwise network (7,089 parameters) x (6 folds + 1). At 8 x 32 x 32 x 60 a cell of 44
patients and 60 epochs takes about a minute of one CPU core. (--config.epochs=N takes the same epochs for all.)
"""

from configs import pointwise
from tmax_jax import defaults

PATIENTS = (10, 20, 44, 100, 145)


def get_sweep() -> dict[str, defaults.Config]:
    sweep = {}
    for patients in PATIENTS:
        config = pointwise.get_config()
        config.data.patients = patients
        config.epochs = round(config.epochs * min(4.0, 44 / patients))
        sweep[f"patients{patients}"] = config
    return sweep


def get_config(variant: str = "") -> defaults.Config:
    return defaults.pick("cohort_size", get_sweep(), variant)
