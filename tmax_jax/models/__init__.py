"""Networks from `[case, z, y, x, time]` to `[case, z, y, x]`, or `[case, z, y, x, output]`, by name."""

import dataclasses
from typing import Any

import flax.linen as nn

from tmax_jax.models.blocks import ModelError
from tmax_jax.models.filtered import Filtered
from tmax_jax.models.patch import Patch
from tmax_jax.models.pointwise import OneLayer, Pointwise, TwoLayer
from tmax_jax.models.temporal import Temporal
from tmax_jax.models.unet import UNet
from tmax_jax.models.voxelwise import Voxelwise

MODELS: dict[str, type[nn.Module]] = {
    "one_layer": OneLayer,
    "two_layer": TwoLayer,
    "pointwise": Pointwise,
    "temporal": Temporal,
    "patch": Patch,
    "unet": UNet,
    "voxelwise": Voxelwise,
    "filtered": Filtered,
}

__all__ = [
    "MODELS",
    "Filtered",
    "ModelError",
    "OneLayer",
    "Patch",
    "Pointwise",
    "Temporal",
    "TwoLayer",
    "UNet",
    "Voxelwise",
    "build",
]


def build(name: str, **fields: Any) -> nn.Module:
    """Makes a network.

    Args:
      name: a key of `MODELS`.
      **fields: of the network's class; the others keep their defaults.

    Returns:
      The module. It is called as `model.apply(variables, perfusion, train=False)`.

    Raises:
      ModelError: an unknown name or field, with the known ones; a share of dropout that is none.

    Example:
      >>> build("two_layer", features=6).features
      6
    """
    if name not in MODELS:
        raise ModelError(f"unknown model {name!r}; choose one of: {', '.join(MODELS)}")
    known = [field.name for field in dataclasses.fields(MODELS[name]) if field.name not in ("parent", "name")]
    unknown = [field for field in fields if field not in known]
    if unknown:
        raise ModelError(
            f"model {name!r} has no field {', '.join(map(repr, unknown))}; it has: {', '.join(known) or 'none'}"
        )
    if not 0 <= fields.get("dropout", 0) < 1:
        raise ModelError(f"dropout is {fields['dropout']}; it must be at least 0 and below 1")
    return MODELS[name](**fields)
