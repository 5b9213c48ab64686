"""Who may import whom, read from the source: the layering survives the next contributor."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tmax_jax"
ROOMS = {
    "losses": set(),
    "metrics": {"losses"},
    "perfusion": set(),
    "dicom": set(),
    "models": {"perfusion"},
    "cohort": {"dicom"},
    "training": {"metrics"},
    "results": {"metrics"},
}
LEAVES = {"files"}  # import nothing of the project: anyone may import them
FILES = sorted(PACKAGE.rglob("*.py"))
ENGINES = {"jax", "jaxlib", "flax", "optax", "orbax"}


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import; write the whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_imports_only_the_rooms_it_may(room):
    allowed = ROOMS[room] | {room} | LEAVES
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for name in imported_modules(path):
            if name.startswith("tmax_jax."):
                assert name.split(".")[1] in allowed, f"{path.relative_to(PACKAGE)} imports {name}"


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_leaves_import_nothing_of_the_project(leaf):
    names = imported_modules(PACKAGE / f"{leaf}.py")
    assert not {name for name in names if name.startswith("tmax_jax") or name.split(".")[0] in ENGINES}


def test_the_converter_never_imports_an_engine():
    for room in ("dicom", "cohort"):
        for path in sorted((PACKAGE / room).rglob("*.py")):
            assert not {name.split(".")[0] for name in imported_modules(path)} & ENGINES, path
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, tmax_jax.convert; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not ENGINES & set(loaded)


def test_losses_load_nothing_but_jax():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, tmax_jax.losses; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"flax", "orbax", "optax", "tensorstore", "pydicom"} & set(loaded)


def test_config_dicts_are_read_by_experiment_alone():
    may = {"experiment.py", "defaults.py", "main.py", "sweep.py"}
    readers = {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        if any(name.startswith("ml_collections") for name in imported_modules(path))
    }
    assert readers <= may


def test_no_file_is_much_longer_than_300_lines():
    long = {path.name: n for path in FILES if (n := len(path.read_text().splitlines())) > 320}
    assert not long
