"""The environment of every test: eight simulated CPU devices, strict shapes, the cohort made once."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported by any test

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def one_device() -> list[jax.Device]:
    """The first device alone."""
    return jax.devices()[:1]
