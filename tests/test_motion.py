"""Rigid motion: what was put in is found and taken out, and a still head stays."""

import jax
import jax.numpy as jnp
import numpy as np

from tmax_jax.perfusion.motion import apply_motion, estimate_motion, rigid

SPACING_MM = (5.0, 2.5, 2.5)
SIZE, FRAMES = (12, 64, 64), 8


def head() -> jax.Array:
    """Smooth blobs in an ellipsoid; in the last frames a bolus darkens all of it a little and small parts a lot."""
    z, y, x = jnp.meshgrid(*(jnp.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    inside = jax.nn.sigmoid(12 * (0.85 - jnp.sqrt(z**2 + y**2 + x**2)))
    texture = 1 + 0.4 * jnp.sin(7 * x + 2 * z) * jnp.cos(5 * y) + 0.3 * jnp.cos(9 * y - 4 * z)
    image = 800 * inside * texture
    vessels = jnp.sin(13 * x) * jnp.sin(11 * y) > 0.9
    fall = jnp.where(vessels, 0.5, 0.15)[..., None] * (jnp.arange(FRAMES) > 5).reshape(1, 1, 1, -1)
    return image[..., None] * (1 - fall)


def displacement_mm(a: jax.Array, b: jax.Array) -> np.ndarray:
    """Mean distance over points of the head, a frame each."""
    points = np.random.default_rng(1).uniform(-1, 1, (3, 200)) * np.array([[25], [60], [60]])
    places = jnp.asarray(np.vstack([points, np.ones(200)]), jnp.float32)
    return np.linalg.norm(np.asarray(a @ places - b @ places)[:, :3], axis=1).mean(axis=1)


def test_known_motion_is_found_and_taken_out():
    still = head()
    rng = np.random.default_rng(0)
    turn, shift = rng.normal(size=(FRAMES, 3)) * 0.02, rng.normal(size=(FRAMES, 3)) * [1.0, 1.5, 1.5]
    turn[:5] = shift[:5] = 0
    truth = rigid(jnp.asarray(turn, jnp.float32), jnp.asarray(shift, jnp.float32))
    moved = apply_motion(still, jnp.linalg.inv(truth), spacing_mm=SPACING_MM)
    mask = still[..., 0] > 100
    found = estimate_motion(moved, mask, spacing_mm=SPACING_MM)
    identity = rigid(jnp.zeros((FRAMES, 3)), jnp.zeros((FRAMES, 3)))
    assert displacement_mm(identity, truth)[5:].min() > 1
    assert displacement_mm(found, truth).max() < 0.3
    corrected = apply_motion(moved, found, spacing_mm=SPACING_MM)
    inner = still[..., 0] > 500
    before, after = (float(jnp.abs(s - still)[inner].mean()) for s in (moved, corrected))
    assert after < 0.5 * before


def test_rigid_motions_keep_lengths_and_small_angles_are_safe():
    motion = rigid(jnp.array([[0.0, 0.0, 0.0], [1e-6, 0.0, 0.0], [0.3, -0.2, 0.9]]), jnp.ones((3, 3)))
    product = motion[:, :3, :3] @ motion[:, :3, :3].mT
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-5)
    gradient = jax.grad(lambda r: rigid(r, jnp.zeros(3)).sum())(jnp.zeros(3))
    assert np.isfinite(gradient).all()


def test_a_quarter_turn_about_z_takes_y_to_minus_x():
    turned = rigid(jnp.array([jnp.pi / 2, 0.0, 0.0]), jnp.zeros(3)) @ jnp.array([0.0, 1.0, 0.0, 1.0])
    np.testing.assert_allclose(turned, [0, 0, 1, 1], atol=1e-6)
