"""Every config says what it is, is traced at full size without computing anything, and trains at a small size."""

import dataclasses
import functools
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

from tmax_jax import models, parts, sweeping
from tmax_jax.models.describe import measure
from tmax_jax.training.sharding import make_shardings, put_batch
from tmax_jax.training.state import init_state
from tmax_jax.training.step import input_shape, make_train_step

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.rglob("*.py"))
EXPERIMENTS = [path for path in CONFIGS if path.parent == FOLDER]
SWEEPS = sorted(FOLDER.glob("ablations/*.py"))
FULL_SIZE, SMALL_SIZE = (24, 128, 128, 60), (8, 16, 16, 24)
SLICES = {"unet_parent:four_pools": 32}  # where the default's 24 will not do


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def name_of(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def variants_of(path: Path) -> list[str]:
    module = load(path)
    return list(module.get_sweep()) if path in SWEEPS else ["", *getattr(module, "VARIANTS", {})]


VARIANTS = {
    f"{name_of(path)}:{variant}".rstrip(":"): (path, variant) for path in CONFIGS for variant in variants_of(path)
}


def batch_of(size: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "perfusion": rng.integers(0, 4000, (size, *shape)).astype(np.uint16),
        "mask": np.ones((size, *shape[:3]), bool),
        "inserted": np.zeros((size, shape[0], shape[3]), bool),
        "tmax_s": rng.gamma(2, 2, (size, *shape[:3])).astype(np.float32),
        "intensity_min": np.zeros(size, np.float32),
        "intensity_max": np.full(size, 4000, np.float32),
        "frame_interval_s": np.full(size, 1.5, np.float32),
        "valid": np.ones(size, bool),
    }


def further_maps(built: parts.Parts, cases: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The entries of a batch for maps beside Tmax."""
    return {f"map_{target.name}": np.ones((cases, *shape[:3]), np.float32) for target in built.task.further}


def step_and_state(built: parts.Parts, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The jitted step of a config and what makes its state."""
    optimizer = built.optimizer(1)
    step = make_train_step(
        built.model,
        optimizer,
        built.loss,
        built.task,
        built.shardings,
        augmentation=built.augmentation,
        ema_decay=built.ema_decay,
    )
    seen = input_shape((1, *shape), built.task)
    make_state = functools.partial(init_state, built.model, optimizer, input_shape=seen, ema=built.ema_decay > 0)
    return step, make_state


@pytest.mark.parametrize("name", VARIANTS)
def test_every_config_trains_a_step_at_full_size_on_paper(name):
    path, variant = VARIANTS[name]
    built = parts.build(load(path).get_config(variant))
    shape = (SLICES.get(name, FULL_SIZE[0]), *FULL_SIZE[1:])
    step, make_state = step_and_state(built, shape)
    state = jax.eval_shape(make_state, jax.random.key(0))
    cases = built.shardings.batch_size
    small = batch_of(cases, (1, 1, 1, 1)) | further_maps(built, cases, (1, 1, 1))
    full = {"perfusion": shape, "mask": shape[:3], "tmax_s": shape[:3], "inserted": (shape[0], shape[3])}
    full |= dict.fromkeys(further_maps(built, cases, shape), shape[:3])
    batch = {
        entry: jax.ShapeDtypeStruct((len(values), *full.get(entry, ())), values.dtype)
        for entry, values in small.items()
    }
    after, metrics = jax.eval_shape(step, state, batch)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), state)
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_every_config_trains_two_steps_at_a_small_size(path):
    built = parts.build(load(path).get_config())
    narrow: dict[str, Any] = {}
    for field in dataclasses.fields(built.model):
        value = getattr(built.model, field.name)
        if field.name in ("features", "hidden") and isinstance(value, tuple):
            narrow[field.name] = tuple(max(2, width // 16) for width in value)
        elif field.name == "bottleneck":
            narrow[field.name] = value // 16
    model = built.model.clone(**narrow)
    built = built._replace(model=model, shardings=make_shardings(2, jax.devices()[:1]))
    step, make_state = step_and_state(built, SMALL_SIZE)
    fast = {"xla_backend_optimization_level": 0}
    state = jax.jit(make_state, compiler_options=fast, out_shardings=built.shardings.replicated)(jax.random.key(0))
    before = jax.device_get(state.params)
    batch = put_batch(batch_of(2, SMALL_SIZE) | further_maps(built, 2, SMALL_SIZE), built.shardings)
    state, _ = step(state, batch)
    state, metrics = step(state, batch)
    assert step._cache_size() == 1
    assert int(state.step) == 2
    assert np.isfinite(float(metrics["loss"]))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(state)))
    moved = jax.tree.map(lambda old, new: bool((old != new).any()), before, jax.device_get(state.params))
    assert any(jax.tree.leaves(moved))


@pytest.mark.parametrize("name", [name for name, (path, _) in VARIANTS.items() if path in EXPERIMENTS])
def test_every_header_says_how_to_run_it_and_how_many_parameters_it_has(name):
    path, variant = VARIANTS[name]
    module = load(path)
    doc = module.__doc__ or ""
    command = f"--config={path.relative_to(FOLDER.parent).as_posix()}"
    assert command in doc, f"{path.name}: the header names no command"
    assert re.search(rf"\b{variant}\b", doc), f"{path.name}: the header does not mention the variant {variant!r}"
    built = parts.build(module.get_config(variant))
    found = measure(built.model, input_shape((1, SLICES.get(name, FULL_SIZE[0]), *FULL_SIZE[1:]), built.task))
    total = found.params + found.statistics
    assert re.search(rf"\b({total}|{total:,})\b", doc), f"{path.name}: the header does not say {total:,} parameters"


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_a_variant_has_a_run_folder_of_its_own(path):
    module = load(path)
    names = [module.get_config(variant).name for variant in variants_of(path)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_has_a_config(name):
    used = {load(path).get_config(variant).model.name for path, variant in VARIANTS.values()}
    assert name in used, f"no file of configs/ runs the network {name!r}; copy one and change its model"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_an_unknown_variant_lists_the_known_ones(path):
    with pytest.raises(SystemExit, match=r"no variant 'papre' of .*; choose one of: "):
        load(path).get_config("papre")


@pytest.mark.parametrize("path", SWEEPS, ids=name_of)
def test_the_header_of_a_sweep_says_what_it_asks_how_to_run_it_and_what_it_costs(path):
    module = load(path)
    doc = module.__doc__ or ""
    sweep = module.get_sweep()
    file = path.relative_to(FOLDER.parent).as_posix()
    assert f"tmax_jax.sweep --config={file}" in doc
    [example] = re.findall(rf"tmax_jax\.main --config={file}:(\S+)", doc)
    assert example in sweep
    assert re.search(rf"\b{len(sweep)} variants\b", doc), f"{path.name} has {len(sweep)} variants"
    networks = {parts.build(config).model for config in sweep.values()}
    known = {f"{count_parameters(model):,}" for model in networks}
    said = re.findall(r"\d+,\d{3}(?:,\d{3})*", doc)
    assert set(said) <= known, f"{path.name}: its networks have {', '.join(sorted(known))} parameters"


@pytest.mark.parametrize("path", SWEEPS, ids=name_of)
def test_the_variants_of_a_sweep_differ_and_are_paired(path):
    sweep = load(path).get_sweep()
    sweeping.check_paired(sweep)
    texts = {config.to_json_best_effort(sort_keys=True) for config in (_unnamed(config) for config in sweep.values())}
    assert len(texts) == len(sweep)


def count_parameters(model) -> int:
    perfusion = jax.ShapeDtypeStruct((1, 8, 16, 16, 60), np.float32)
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), perfusion)
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def _unnamed(config):
    config.name = ""
    return config


def test_a_sweep_lists_its_variants_to_those_who_ask_for_another():
    with pytest.raises(SystemExit, match=r"no variant 'depth5' of depth; choose one of: depth2, .*depth12"):
        load(FOLDER / "ablations" / "depth.py").get_config("depth5")
