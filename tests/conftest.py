"""The environment of every test: eight simulated CPU devices, strict shapes, the cohort made once."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported by any test

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
