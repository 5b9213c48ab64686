"""The style that the public functions promise: losses alike, everything documented."""

import ast
import importlib
import inspect
from pathlib import Path

import jax.numpy as jnp
import pytest

from tmax_jax import losses

PACKAGE = Path(__file__).parents[1] / "tmax_jax"
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
]


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_take_predictions_targets_and_keywords_and_end_in_where(name):
    parameters = list(inspect.signature(losses.LOSSES[name]).parameters.values())
    assert [p.name for p in parameters[:2]] == ["predictions", "targets"]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters[2:])
    assert parameters[-1].name == "where"
    assert parameters[-1].default is None


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_are_exported_and_documented_with_example_and_reference(name):
    assert name in losses.__all__
    doc = inspect.getdoc(losses.LOSSES[name]) or ""
    for section in ("Args:", "Returns:", "Raises:", "Example:", "Reference:"):
        assert section in doc, f"{name} lacks {section}"


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_give_one_value_a_case(name):
    assert losses.LOSSES[name](jnp.zeros((3, 2, 4, 5)), jnp.ones((3, 2, 4, 5))).shape == (3,)


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_say_what_they_take_and_give(module):
    tree = ast.parse(Path(importlib.import_module(module).__file__ or "").read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            doc = ast.get_docstring(node)
            assert doc, f"{module}.{node.name} has no docstring"
            assert doc.splitlines()[0].endswith((".", ":")), f"{module}.{node.name}: first line is no sentence"
            assert node.returns is not None, f"{module}.{node.name} has no return type"
