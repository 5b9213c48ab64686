"""The command of a sweep: what it reads from a file, what its overrides reach, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_experiment import store
from tmax_jax import sweep
from tmax_jax.parts import ExperimentError

ROOT = Path(__file__).parents[1]
RATES = """'Which rate?'
from configs import one_layer
from tmax_jax import defaults


def get_sweep():
    sweep = {"slow": one_layer.get_config(), "fast": one_layer.get_config()}
    sweep["fast"].optimizer.learning_rate = 0.1
    sweep["fast"].optimizer.schedule = "cosine"  # cell by cell; linear networks at a constant rate go together
    return sweep


def get_config(variant=""):
    return defaults.pick("rates", get_sweep(), variant)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tmax_jax.sweep", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_an_override_reaches_all_variants_and_each_has_its_run_folder(tmp_path):
    file = tmp_path / "rates.py"
    file.write_text(RATES)
    overrides = [f"--config.data.store={store()}", "--config.folds=2", "--config.epochs=1", "--config.batch_size=6"]
    workdir = tmp_path / "runs" / "rates"
    result = run(f"--config={file}", *overrides, f"--workdir={workdir}", f"--publish={tmp_path}/docs")
    assert result.returncode == 0, result.stderr
    for variant in ("slow", "fast"):
        text = (workdir / variant / "config.json").read_text()
        assert '"epochs": 1,' in text
        assert f'"name": "{variant}"' in text
        assert (workdir / variant / "results.csv").exists()
    assert "cell 2 of 2 · fast, fold 1" in result.stdout
    assert "cell 1 of 1 · fast, final fit" in result.stdout
    assert "paired differences" in result.stdout
    published = {path.name for path in (tmp_path / "docs" / "rates").iterdir()}
    assert published >= {"README.md", "results.csv", "comparisons.csv", "costs.csv", "montage.png", "forest.png"}
    assert "Which rate?" in (tmp_path / "docs" / "rates" / "README.md").read_text()
    assert "<h2>Cost</h2>" in (workdir / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "error: say which sweep: --config=configs/ablations/depth.py"),
        (("--config=configs/unet.py",), "error: configs/unet.py lists no variants (no get_sweep()); run it with"),
        (
            ("--config=configs/ablations/losses.py", "--config.data.store=nowhere.zarr", "--shard=2/2"),
            "error: --shard=2/2 must be i/n with i from 0 to n - 1",
        ),
    ],
)
def test_what_cannot_be_run_is_said_in_one_sentence(arguments, message):
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_sweep_file_gives_its_variants_its_question_and_its_printed_numbers():
    configs, about = sweep._read_sweep(ROOT / "configs" / "ablations" / "table1.py")
    assert list(configs) == list(about["printed"])
    assert about["question"].startswith("The paper's Table I")
    with pytest.raises(ExperimentError, match="lists no variants"):
        sweep._read_sweep(ROOT / "configs" / "unet.py")
