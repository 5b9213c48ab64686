"""The OSIPI reference cases that tests read, where they are at hand."""

import csv
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

CASES = Path(__file__).parents[2] / "shared" / "data" / "osipi" / "dsc_data.csv"


class Case(NamedTuple):
    """One simulated curve with its artery and truth; the curves are calibrated, so that no kH/rho is needed."""

    label: str
    tissue: jax.Array
    aif: jax.Array
    dt_s: float
    cbf: float  # ml/100 ml/min
    cbv: float  # ml/100 ml


def osipi_cases() -> list[Case]:
    """Returns the 14 cases, or skips the test."""
    if not CASES.exists():
        pytest.skip(f"the OSIPI reference cases are not at {CASES.name}; this test needs them")

    def curve(text: str) -> jax.Array:
        return jnp.asarray([float(value) for value in text.split()])

    with CASES.open() as file:
        return [
            Case(row["label"], curve(row["C_tis"]), curve(row["C_aif"]), *(float(row[k]) for k in ("tr", "cbf", "cbv")))
            for row in csv.DictReader(file)
        ]
