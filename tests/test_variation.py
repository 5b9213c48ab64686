"""Harder patients: the same heads, other physics; and heads that move."""

import jax
import numpy as np

from tmax_jax.perfusion.phantom import draw_subject, simulate_patient
from tmax_jax.perfusion.variation import draw_motion, draw_varied_subject

SIZE = (8, 32, 32)  # as in other tests, which then share its compilation


def test_physics_vary_over_their_ranges_and_the_head_is_the_same():
    drawn = [draw_varied_subject(0, number) for number in range(80)]
    assert {subject.residue_family for subject in drawn} == {0, 1, 2}
    assert {subject.residue_shape == 1.0 for subject in drawn} == {True, False}
    assert 10 < min(s.snr for s in drawn) < 15
    assert 150 < max(s.snr for s in drawn) < 200
    assert 0.3 < np.mean([s.dispersion_s > 0 for s in drawn]) < 0.7
    assert 0.1 < np.mean([s.leakage_per_s > 0 for s in drawn]) < 0.4
    assert all(s.head == draw_subject(0, n).head for n, s in enumerate(drawn))
    assert draw_varied_subject(0, 3) == draw_varied_subject(0, 3)


def test_dispersion_leakage_and_a_second_echo_show_in_the_signal():
    subject = draw_subject(0, 1)
    subject = subject._replace(lesion=subject.lesion._replace(present=1.0), snr=1e5)
    key = jax.random.key(0)

    def simulated(echo: int = 0, **changes: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = simulate_patient(key, subject._replace(**changes), size=SIZE, frames=60, echo=echo)
        return np.asarray(found.signal), np.asarray(found.lesion) > 0, np.asarray(found.cbf) > 20

    plain, lesion, tissue = simulated()
    dispersed, *_ = simulated(dispersion_s=4.0)
    rate = -np.log(plain[tissue].mean(axis=0)), -np.log(dispersed[tissue].mean(axis=0))
    assert rate[1].argmax() > rate[0].argmax()  # later
    leaking, *_ = simulated(leakage_per_s=0.05)
    assert leaking[lesion][:, -5:].mean() > 1.03 * plain[lesion][:, -5:].mean()
    healthy = tissue & ~lesion
    change = np.abs(leaking[healthy] / plain[healthy] - 1)
    assert change.mean() < 0.002  # but for the lesion's soft edge
    late, *_ = simulated(echo=1, echo_time_s=2 * subject.echo_time_s)
    assert late[tissue][:, 10:30].min(axis=1).mean() < 0.9 * plain[tissue][:, 10:30].min(axis=1).mean()
    other_noise, *_ = simulated(echo=1)
    assert np.abs(other_noise - plain).max() > 0


def test_a_restless_head_is_still_at_first_and_moves_within_bounds():
    motion = np.asarray(draw_motion(jax.random.key(0), 60))
    np.testing.assert_allclose(motion[:6], np.broadcast_to(np.eye(4), (6, 4, 4)), atol=1e-6)
    assert 0.3 < np.abs(motion[:, :3, 3]).max() <= 3.0
    np.testing.assert_allclose(np.linalg.det(motion[:, :3, :3]), 1, atol=1e-5)
