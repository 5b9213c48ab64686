"""Coverage: right for errors that are as spread as they say, and drawn as it is."""

import numpy as np
import pytest

from tmax_jax.results.calibration import calibration_figure, covered

SHARES = (0.1, 0.5, 0.9)


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_laplace_errors_of_the_stated_scale_are_covered_as_promised(scale):
    error = np.random.default_rng(0).laplace(scale=scale, size=100_000)
    np.testing.assert_allclose(covered(error, np.full(error.shape, scale), SHARES), SHARES, atol=0.01)
    assert covered(error, np.full(error.shape, 2 * scale), SHARES)[1] > 0.6  # too cautious
    assert covered(error, np.full(error.shape, scale / 2), SHARES)[1] < 0.4  # too sure


def test_the_figure_draws_each_curve_and_the_diagonal():
    figure = calibration_figure({"box": SHARES, "SNR 20": (0.2, 0.6, 0.95)}, SHARES, title="coverage")
    [ax] = figure.axes
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.lines}
    np.testing.assert_allclose(drawn["SNR 20"], (0.2, 0.6, 0.95))
    assert {"box", "SNR 20"} <= set(drawn)
