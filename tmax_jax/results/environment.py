"""With what a run was made."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorstore", "numpy", "tmax_jax")


def describe_environment(data: str) -> dict[str, Any]:
    """Returns versions, devices, commit and the kind of data, as plain values for `environment.json`.

    Args:
      data: "phantom", "real" or "mixed".
    """
    return {
        "data": data,
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "backend": jax.default_backend(),
        "commit": source_commit(),
    }


def source_commit() -> str:
    """Returns the commit of the source tree, marked where files differ from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
