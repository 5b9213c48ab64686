"""The style that the public functions promise: losses and metrics complete, alike and documented; everything described.

A step forgotten when a loss or a metric is added fails here: its entry in the registry, its export, the sections of its
docstring, its entry in the tables of properties, its golden.
"""

import ast
import functools
import importlib
import inspect
import typing
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from tests.loss_table import PROMISES, bound
from tmax_jax import losses, metrics
from tmax_jax.metrics.registry import MAP_METRICS, SUM_METRICS
from tmax_jax.results.tables import COLUMNS

PACKAGE = Path(__file__).parents[1] / "tmax_jax"
GOLDENS = Path(__file__).parent / "goldens"
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
]


def public_functions(package: str, first: str, *, skip: tuple[str, ...] = ()) -> dict[str, typing.Callable]:
    """The public functions of a package's modules whose first parameter has this name."""
    found = {}
    for path in sorted((PACKAGE / package).glob("[!_]*.py")):
        module = importlib.import_module(f"tmax_jax.{package}.{path.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == module.__name__ and not name.startswith("_") and path.stem not in skip
            if own and next(iter(inspect.signature(function).parameters), None) == first:
                found[name] = function
    return found


def test_every_loss_is_in_the_registry_and_exported():
    written = set(public_functions("losses", "predictions"))
    assert written - {"ssim_map"} == set(losses.LOSSES), "enter it in LOSSES of losses/__init__.py"  # an index, a map
    assert written <= set(losses.__all__), "export it in __all__ of losses/__init__.py"


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_take_predictions_targets_and_keywords_and_end_in_where(name):
    parameters = list(inspect.signature(losses.LOSSES[name]).parameters.values())
    assert [p.name for p in parameters[:2]] == ["predictions", "targets"]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters[2:])
    assert parameters[-1].name == "where"
    assert parameters[-1].default is None


@pytest.mark.parametrize("name", [*losses.LOSSES, "ssim_map"])
def test_losses_are_documented_with_example_and_reference(name):
    function = getattr(losses, name)
    doc = inspect.getdoc(function) or ""
    for section in ("Args:", "Returns:", "Raises:", "Example:", "Reference:"):
        assert section in doc, f"{name} lacks {section}"
    assert ">>>" in doc, f"the example of {name} does not run"
    for parameter in inspect.signature(function).parameters:
        assert f"\n  {parameter}: " in doc, f"{name} does not describe {parameter}"


def test_every_loss_has_promises_to_keep_and_a_golden():
    assert set(PROMISES) == set(losses.LOSSES), "say in tests/loss_table.py what the loss promises"
    with np.load(GOLDENS / "losses.npz") as goldens:
        assert set(losses.LOSSES) <= set(goldens), "add it to tests/goldens/make_loss_goldens.py"


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_give_one_value_a_case(name):
    assert bound(name)(jnp.zeros((3, 2, 4, 6)), jnp.ones((3, 2, 4, 6))).shape == (3,)


def functions_of(registry: dict[str, metrics.Metric]) -> set[typing.Callable]:
    return {m.value.func if isinstance(m.value, functools.partial) else m.value for m in registry.values()}


@pytest.mark.parametrize(("first", "registry"), [("sums", SUM_METRICS), ("prediction_s", MAP_METRICS)])
def test_every_metric_is_in_the_registry(first, registry):
    written = public_functions("metrics", first, skip=("sums", "registry"))
    assert set(written.values()) == functions_of(registry), "enter it in metrics/registry.py"


@pytest.mark.parametrize("name", metrics.METRICS)
def test_metrics_are_defined_in_their_docstring_with_a_unit_and_a_reference(name):
    metric = metrics.METRICS[name]
    [function] = functions_of({name: metric})
    doc = inspect.getdoc(function) or ""
    assert "Returns:" in doc
    assert "Reference:" in doc
    unit = {"s²": "s^2", "s": "seconds"}.get(metric.unit, metric.unit)
    assert unit in doc.split("Returns:")[1], f"{name} is in {metric.unit}; its docstring does not say so"
    assert bool(metric.undefined) == ("ndefined" in doc), (
        f"{name}: docstring and registry differ in when it is undefined"
    )


@pytest.mark.parametrize("name", metrics.METRICS)
def test_a_metrics_name_ends_in_its_unit(name):
    ending = {"s²": "_s2", "s": "_s", "mL": "_ml", "mm": "_mm", "dB": "_db"}.get(metrics.METRICS[name].unit, "")
    assert name.endswith(ending)
    assert metrics.METRICS[name].best in ("low", "high", "zero", "")


def test_every_metric_has_a_golden_and_the_table_shows_metrics_that_can_win():
    with np.load(GOLDENS / "metrics.npz") as goldens:
        assert set(goldens) == set(metrics.METRICS), "add it to tests/goldens/make_metric_goldens.py"
    assert all(metrics.METRICS[name].best for name in COLUMNS)


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_say_what_they_take_and_give(module):
    tree = ast.parse(Path(importlib.import_module(module).__file__ or "").read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            doc = ast.get_docstring(node)
            assert doc, f"{module}.{node.name} has no docstring"
            assert doc.splitlines()[0].endswith((".", ":")), f"{module}.{node.name}: first line is no sentence"
            assert node.returns is not None, f"{module}.{node.name} has no return type"
