"""Is the signal enough, or should a network see what the physics makes of it? Eight inputs, equal in parameters.

    python -m tmax_jax.sweep --config=configs/ablations/hybrids.py --config.data.store=cohort.zarr
    python -m tmax_jax.main --config=configs/ablations/hybrids.py:residue    one of its variants

The paper's outlook asks to join the mathematical model and the network. Every variant is the pointwise network of
`hybrid.py`, with as many parameters as its plain twin `signal`, which all are compared with: concentration instead of
the signal; and beside it the artery's curve, the deconvolved residue function, classical maps, or masks of vessels and
ventricles; or both curves aligned to the bolus' arrival on a grid of seconds.

8 variants x (6 folds + 1), about seven thousand parameters each (`hybrid.py` has the numbers). At 16 x 48 x 48 x 60 a
cell of 24 patients takes two (signal) to six minutes (maps) of one CPU core.
"""

from configs import hybrid
from tmax_jax import defaults


def get_sweep() -> dict[str, defaults.Config]:
    signal_first = ("signal", "concentration", "artery", "residue", "aligned", "maps", "masks", "everything")
    return {variant: hybrid.get_config("" if variant == "residue" else variant) for variant in signal_first}


def get_config(variant: str = "") -> defaults.Config:
    return defaults.pick("hybrids", get_sweep(), variant)
