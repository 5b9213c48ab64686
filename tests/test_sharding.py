"""The mesh: whatever it is, a step computes what one device computes, gradients before any optimiser hides them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks.scaling import collectives
from tests.test_models import ALIGNED, SMALL
from tmax_jax import losses
from tmax_jax.losses import LOSSES
from tmax_jax.models import MODELS, build
from tmax_jax.training.augment import OFF, Augmentation
from tmax_jax.training.sharding import MeshError, Shardings, make_shardings, put_batch, splittable_rows
from tmax_jax.training.state import init_state
from tmax_jax.training.step import Task, make_predict_step, make_train_step

SIZE = (1, 16, 8, 12)  # one slice: a kernel of 3 x 3 x 3 is then one convolution, which compiles sooner
DEEP = (2, 8, 8, 12)
TASK = Task(normalise=True, target_scale_s=20.0, loss_over="brain", strip_prediction=True, loss_unit_s=20.0)
SGD = optax.sgd(1.0)  # the update is the raw gradient: Adam's normalisation would hide a wrong factor
FAST: Any = {"xla_backend_optimization_level": 0}
MESHES = [(data, space) for data in (1, 2, 4, 8) for space in (1, 2, 4, 8) if 1 < data * space <= 8]
VARIED = Augmentation(0.5, 20.0, 2, 20.0, 5.0, 20.0)
FLAT_UNET = {"features": (2, 3), "bottleneck": 4, "norm": "batch", "keep_z": (1,)}


def images(cases: int, dtype: type = np.uint16, size: tuple[int, ...] = SIZE) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "perfusion": rng.integers(0, 4000, (cases, *size)).astype(dtype),
        "mask": rng.random((cases, *size[:3])) > 0.3,
        "tmax_s": rng.gamma(2, 2, (cases, *size[:3])).astype(np.float32),
        "intensity_min": np.zeros(cases, np.float32),
        "intensity_max": rng.uniform(3000, 4000, cases).astype(np.float32),
        "frame_interval_s": np.full(cases, 1.5, np.float32),
        "spacing_mm": np.full((cases, 3), 2, np.float32),
        "valid": np.ones(cases, bool),
    }


def on_mesh(mesh: tuple[int, int], batch: dict[str, np.ndarray]) -> Shardings:
    data, space = mesh
    return make_shardings(len(batch["valid"]), rows=batch["mask"].shape[2], mesh=f"data={data},space={space}")


def one_step(kind, batch, mesh, *, loss=losses.squared_error, augmentation=OFF, programs=None, **fields):
    """Returns the gradient, the statistics and the loss of one step; appends its compiled program."""
    model = build(kind.split(",")[0], **(FLAT_UNET if kind == "unet" else SMALL[kind]) | fields)
    shardings = on_mesh(mesh, batch)
    before = jax.device_put(initial(model, batch["perfusion"].shape), shardings.replicated)
    params = jax.device_get(before.params)
    step: Any = make_train_step(model, SGD, loss, TASK, shardings, augmentation=augmentation)
    placed = put_batch(batch, shardings)
    compiled = step.lower(before, placed).compile(compiler_options=FAST)
    if programs is not None:
        programs.append(compiled.as_text())
    after, metrics = compiled(before, placed)
    gradient = jax.tree.map(lambda old, new: old - new, params, jax.device_get(after.params))
    return gradient, jax.device_get((after.batch_stats, metrics["loss"]))


@functools.cache
def initial(model: Any, shape: tuple[int, ...]) -> Any:
    make = jax.jit(lambda key: init_state(model, SGD, key, shape), compiler_options=FAST)
    return jax.device_get(make(jax.random.key(0)))


@functools.cache
def of_one_device(kind: str, cases: int, size: tuple[int, ...] = SIZE) -> Any:
    return one_step(kind, images(cases, size=size), (1, 1))


def assert_alike(found: Any, expected: Any) -> None:
    """To rounding: of the largest gradient, since those of biases before a normalisation are rounding alone."""
    (gradient, others), (expected_gradient, expected_others) = found, expected
    top = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected_gradient))
    compare = functools.partial(np.testing.assert_allclose, rtol=1e-4)
    jax.tree.map(lambda a, b: compare(a, b, atol=2e-5 * top), gradient, expected_gradient)
    jax.tree.map(lambda a, b: compare(a, b, atol=1e-6), others, expected_others)


def kernel_gradient(mesh: tuple[int, int]) -> np.ndarray:
    """A convolution's kernel gradient where rows are split over `space` and nothing over `data`: plain JAX."""
    grid = Mesh(np.asarray(jax.devices()[: mesh[0] * mesh[1]]).reshape(mesh), ("data", "space"))
    x, kernel = np.random.default_rng(0).random((1, 16, 8, 3), np.float32), np.ones((3, 3, 3, 2), np.float32)

    def objective(kernel: jax.Array, x: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return jnp.sum(jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout) ** 2)

    places = NamedSharding(grid, P()), NamedSharding(grid, P(None, "space"))
    return np.asarray(jax.jit(jax.grad(objective), in_shardings=places)(kernel, x))


@pytest.mark.parametrize(("mesh", "factor"), [((1, 4), 1), ((2, 2), 2), ((4, 2), 4), ((2, 4), 2)])
def test_xla_multiplies_a_kernels_gradient_by_the_idle_axis(mesh, factor):
    """The defect that `make_shardings` keeps away from. When this fails, XLA is mended, and its checks may go."""
    np.testing.assert_allclose(kernel_gradient(mesh), factor * kernel_gradient((1, 1)), rtol=1e-5)


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind not in ALIGNED])  # XLA splits no Fourier transform
def test_every_mesh_gives_the_gradient_of_one_device(kind, mesh):
    programs: list[str] = []
    assert_alike(one_step(kind, images(8), mesh, programs=programs), of_one_device(kind, 8))
    exchanged = collectives(programs[0])
    assert not exchanged["all-gather"]  # no device is sent what another has computed of the same layer,
    assert not exchanged["all-to-all"]
    sent = [shape for _, shape in exchanged["collective-permute"]]
    if kind == "temporal":  # [case, z, y, x, time, channel]: zeros of one case or row, where the gradient pads in time
        assert all(1 in (shape[0], shape[2]) for shape in sent)
        return
    assert {shape[-3] for shape in sent} <= {1}  # but the edge row of its neighbour
    assert bool(sent) == (mesh[1] > 1 and kind in ("patch", "unet"))


@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind not in MODELS])
def test_every_kind_of_u_net_gives_the_gradient_of_one_device(kind):
    assert_alike(one_step(kind, images(2, size=DEEP), (2, 4)), of_one_device(kind, 2, DEEP))


@pytest.mark.parametrize(
    ("kind", "fields", "rows"),
    [
        ("unet", {}, 16),
        ("unet", {"pool_bottleneck": True, "keep_z": (4,)}, 8),
        ("unet", {"slice_wise": True}, 16),
        ("patch", {}, 128),
        ("temporal", {}, 128),
    ],
)
def test_rows_split_only_as_far_as_every_level_has_some_for_each_device(kind, fields, rows):
    assert splittable_rows(build(kind, **fields), (1, 24, 128, 128, 60)) == rows


def test_a_level_with_fewer_rows_than_devices_is_the_same_defect():
    """Why `splittable_rows` is asked: 8 rows, 4 after pooling, over 8 devices."""
    batch = images(1, size=(1, 8, 8, 12))
    shardings = make_shardings(1, rows=splittable_rows(build("unet", **FLAT_UNET), batch["perfusion"].shape))
    assert tuple(shardings.mesh.shape.values()) == (1, 4)
    right, wrong = (one_step("unet", batch, mesh)[0]["down_2"]["conv_1"]["kernel"] for mesh in ((1, 4), (1, 8)))
    np.testing.assert_allclose(wrong, 2 * right, rtol=1e-3, atol=1e-5 * np.abs(right).max())


@pytest.mark.parametrize("kind", ["two_layer", "patch", "unet"])
def test_one_patient_uses_eight_devices(kind):
    assert_alike(one_step(kind, images(1), (1, 8)), of_one_device(kind, 1))


@pytest.mark.parametrize(("kind", "mesh"), [("two_layer", (4, 1)), ("two_layer", (2, 4)), ("unet", (4, 2))])
def test_seven_patients_are_padded_and_count_once_each(kind, mesh):
    assert_alike(one_step(kind, images(7), mesh), of_one_device(kind, 7))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_stored_types_give_the_same_gradient(dtype):
    assert_alike(one_step("patch", images(2, dtype), (2, 2)), of_one_device("patch", 2))


@pytest.mark.parametrize("name", sorted(set(LOSSES) & {"ssim", "multiscale_ssim", "gradient_difference", "dice"}))
def test_losses_that_look_at_whole_images_see_them_across_devices(name):
    options = {"ssim": {"data_range": 1.0}, "multiscale_ssim": {"data_range": 1.0, "weights": (0.5, 0.5)}}
    loss = functools.partial(LOSSES[name], **options.get(name, {}))
    found, expected = (one_step("one_layer", images(2), mesh, loss=loss) for mesh in ((2, 4), (1, 1)))
    assert np.abs(expected[0]["head"]["kernel"]).max() > 0
    assert_alike(found, expected)


def test_turned_and_noisy_images_are_the_same_on_a_mesh():
    step = functools.partial(one_step, "patch", images(2), augmentation=VARIED, dropout=0.3)
    assert_alike(step((2, 2)), step((1, 1)))


def scores(mesh: tuple[int, int], batch: dict[str, np.ndarray]) -> Any:
    model, shardings = build("one_layer"), on_mesh(mesh, batch)
    state = jax.device_put(initial(model, batch["perfusion"].shape), shardings.replicated)
    step: Any = make_predict_step(model, TASK, shardings)
    placed = put_batch(batch, shardings)
    return jax.device_get(step.lower(state, placed).compile(compiler_options=FAST)(state, placed))


@pytest.mark.parametrize("mesh", MESHES)
def test_maps_and_scores_are_those_of_one_device(mesh):
    expected, found = scores((1, 1), images(8)), scores(mesh, images(8))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, expected)


@pytest.mark.parametrize(
    ("batch_size", "devices", "rows", "expected"),
    [
        (1, 8, 128, (1, 8)),  # the paper's batch
        (4, 8, 128, (4, 2)),
        (8, 8, 128, (8, 1)),  # patients before rows: they exchange nothing but gradients
        (16, 8, 128, (8, 1)),
        (7, 4, 128, (1, 4)),  # an eighth place for seven would be work for nothing
        (1, 8, 130, (1, 5)),  # the most that divide 130
        (3, 8, 1, (3, 1)),
        (5, 1, 128, (1, 1)),
    ],
)
def test_the_automatic_mesh_leaves_its_busiest_device_the_least_work(batch_size, devices, rows, expected):
    shardings = make_shardings(batch_size, jax.devices()[:devices], rows=rows)
    assert tuple(shardings.mesh.shape.values()) == expected
    assert shardings.batch_size == batch_size


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ("data=2,space=4", "a batch of 1 would leave 1 of 2 parts without a patient"),  # the defect's mesh
        ("data=1,space=16", "it needs 16 devices and there are 8"),
        ("data=1,space=7", "128 rows, where the network has the fewest, do not split into 7 equal parts"),
        ("space=8", "--mesh=space=8 is no mesh; write 'auto'"),
        ("data=0,space=8", "is no mesh"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_with_one_that_can(mesh, message):
    with pytest.raises(MeshError, match=message) as error:
        make_shardings(1, rows=128, mesh=mesh)
    assert "auto" in str(error.value)
