"""Channels made of the physics: of the right number, 0 outside the brain, the same for a brighter scan."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from tests.perfused_head import INTERVAL_S, head
from tmax_jax.models.blocks import ModelError
from tmax_jax.models.inputs import INPUTS, make_channels
from tmax_jax.perfusion.alignment import CHANNELS

FRAMES = 60
NUMBERS = {
    "concentration": FRAMES,
    "aif": FRAMES,
    "aligned": CHANNELS,
    "residue": FRAMES,
    "maps": 5,
    "masks": 2,
}


@functools.cache
def case() -> dict[str, np.ndarray]:
    found = head()
    assert found.perfusion is not None
    return {
        "perfusion": found.perfusion[None],
        "mask": found.mask[None],
        "inserted": found.inserted[None],
        "frame_interval_s": np.full(1, INTERVAL_S, np.float32),
    }


@functools.cache
def channels(name: str) -> np.ndarray:
    make = make_channels((name,))
    assert make
    return np.asarray(make(case()))


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_has_its_channels_inside_the_brain_and_nothing_outside(name):
    found = channels(name)
    assert found.shape == (*case()["mask"].shape, NUMBERS[name])
    assert np.isfinite(found).all()
    assert not found[~case()["mask"]].any()
    assert name == "masks" or found[case()["mask"]].any()  # this head has neither vessels nor ventricles


@pytest.mark.parametrize("name", ["concentration", "maps"])
def test_a_scanner_with_another_scale_gives_the_same_channels(name):
    make = make_channels((name,))
    assert make
    brighter = make(case() | {"perfusion": 2.5 * case()["perfusion"].astype(np.float32)})
    np.testing.assert_allclose(brighter, channels(name), atol=2e-3)


def test_several_inputs_stand_one_after_the_other():
    make = make_channels(("concentration", "masks"))
    assert make
    found = make(case())
    np.testing.assert_allclose(found[..., :FRAMES], channels("concentration"), atol=1e-6)
    np.testing.assert_allclose(found[..., FRAMES:], channels("masks"), atol=1e-6)


def test_the_artery_is_the_same_in_every_voxel_and_peaks_at_one():
    inside = channels("aif")[case()["mask"]]
    assert inside.max() == pytest.approx(1.0)
    assert (inside == inside[0]).all()


def test_a_lost_image_is_filled_in_and_not_taken_for_a_bolus():
    damaged, inserted = case()["perfusion"].copy(), case()["inserted"].copy()
    damaged[:, 5, :, :, 20], inserted[:, 5, 20] = 0, True
    make = make_channels(("concentration",))
    assert make
    found = np.asarray(make(case() | {"perfusion": jnp.asarray(damaged), "inserted": inserted}))
    assert np.abs(found[0, 5, ..., 20] - channels("concentration")[0, 5, ..., 20]).max() < 0.5


@pytest.mark.parametrize("names", [("signal", "aif"), ("artery",), ()])
def test_unknown_inputs_list_the_known_ones(names):
    with pytest.raises(ModelError, match=r"choose \('signal',\) or any of: concentration, aif, aligned"):
        make_channels(names)
