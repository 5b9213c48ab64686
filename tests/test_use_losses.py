"""The example runs as it stands, learns, and shows what its text says."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "use_losses.py"


def test_the_example_learns_with_both_losses_and_the_asymmetric_one_reads_lower():
    done = subprocess.run(
        [sys.executable, "-m", "examples.use_losses"],
        cwd=EXAMPLE.parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = {line[:18].strip(): line[18:].split() for line in done.stdout.splitlines()}
    assert set(rows) == {"squared error", "asymmetric + SSIM"}
    squared, asymmetric = (dict(zip(row[0::3], map(float, row[1::3]), strict=False)) for row in rows.values())
    for row in (squared, asymmetric):
        assert row["MAE"] < 0.8  # the noise's own is 2.4 s
    assert asymmetric["bias"] < squared["bias"]


def test_the_example_uses_nothing_of_the_project_but_the_losses():
    lines = [line for line in EXAMPLE.read_text().splitlines() if "tmax_jax" in line and "import" in line]
    assert lines == ["from tmax_jax import losses"]
