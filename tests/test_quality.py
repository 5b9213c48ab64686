"""Quality: what spoils a scan is found and named, and what does not is left in peace."""

import dataclasses
import warnings

import numpy as np
import pytest
from scipy import ndimage

from tests.perfused_head import ARRIVAL_S, FRAMES, INTERVAL_S, SPACING_MM, head
from tmax_jax.cohort.quality import find_bolus, findings_of, mask_findings, measure
from tmax_jax.cohort.store import Case


def damaged(change, **options) -> Case:
    """A head whose values a function has changed in place."""
    case = head(**options)
    assert case.perfusion is not None
    values = case.perfusion.astype(np.float64)
    change(values)
    return dataclasses.replace(case, perfusion=np.clip(values, 0, 4095).astype(np.int16))


def found(case: Case) -> dict[str, str]:
    return {finding.about: finding.text for finding in findings_of(measure(case))}


def test_a_good_scan_has_no_findings_and_true_numbers():
    measured = measure(head())
    assert findings_of(measured) == []
    assert measured.arrival_s == pytest.approx(ARRIVAL_S, abs=INTERVAL_S)
    assert measured.peak_s == pytest.approx(ARRIVAL_S + 4.5, abs=INTERVAL_S)
    assert measured.bolus == pytest.approx(0.25, abs=0.03)
    assert measured.snr == pytest.approx(50, rel=0.15)  # 500 over a noise of 10
    assert measured.mask_ml == pytest.approx(head().mask.sum() * np.prod(SPACING_MM) / 1000)
    assert abs(measured.drift) < 0.005


def test_missing_images_bend_no_number():
    whole, case = measure(head()), head()
    assert case.perfusion is not None
    inserted, values = case.inserted.copy(), case.perfusion.copy()
    inserted.reshape(-1)[np.random.default_rng(0).choice(inserted.size, 20, replace=False)] = True
    np.moveaxis(values, -1, 1)[inserted] = 0
    measured = measure(dataclasses.replace(case, perfusion=values, inserted=inserted))
    assert [finding.text for finding in findings_of(measured)] == ["20 of 720 images missing (2.8%, limit 0)"]
    np.testing.assert_allclose(measured.curve, whole.curve, atol=0.02)
    assert measured.snr == pytest.approx(whole.snr, rel=0.05)


def test_a_scan_without_a_bolus_says_how_little_it_fell():
    text = found(head(arrival_s=1e6))["bolus_fall_percent"]
    assert text.startswith("no bolus: the mean signal falls by 0.1% (limit 3% and 5 times the noise of 0.0")


def test_a_bolus_too_early_or_too_late_is_named_with_its_frames():
    assert "after 1 steady frames (limit 3)" in found(head(arrival_s=3.5))["bolus_arrival_s"]
    assert "bolus too late: " in found(head(arrival_s=70.0))["bolus_arrival_s"]


def test_drift_of_the_baseline_is_measured_before_the_bolus():
    case = damaged(lambda values: np.multiply(values, 1 + 0.05 * np.arange(FRAMES) / 8, out=values))
    assert measure(case).drift == pytest.approx(0.04, abs=0.015)
    assert "drifts by +" in found(case)["drift_percent"]


def test_spikes_are_found_in_one_slice_even_in_the_bolus_and_in_all_slices_outside_it():
    def spoil(values):
        values[3, ..., 13] *= 1.2  # while the bolus passes
        values[..., 45] *= 0.8

    assert set(measure(damaged(spoil)).spikes) == {(3, 13), (-1, 45)}
    assert found(damaged(spoil))["spikes"] == "spikes: frame 46; slice 4, frame 14 (limit 5% of the baseline)"


def test_motion_is_found_with_its_frame():
    def move(values):
        values[..., 40] = ndimage.shift(values[..., 40], (0, 1, 0), order=1)

    assert measure(damaged(move)).motion_mm == pytest.approx(4, abs=0.6)
    assert "at frame 41 (limit 2 mm)" in found(damaged(move))["motion_mm"]


def test_noise_is_found():
    assert "(limit 10)" in found(head(noise=80.0))["snr"]


def test_empty_and_clipped_slices_are_named_in_short():
    def spoil(values):
        values[1:3] = values[6] = 0
        values[:] = np.minimum(values, np.where(np.arange(12) == 4, 480, 479)[:, None, None, None])

    texts = [finding.text for finding in findings_of(measure(damaged(spoil)))]
    assert "slices without any signal: 2-3, 7 (limit 0)" in texts
    assert "slices clipped at the top: 5 (limit 0.5% of their values)" in texts


def test_a_mask_far_from_the_cohorts_median_is_found_but_not_in_a_pair():
    assert mask_findings({"a": 100.0, "b": 1000.0}) == {}
    assert list(mask_findings({"a": 1000.0, "b": 1290.0, "c": 1000.0, "d": 1310.0, "e": 690.0})) == ["d", "e"]


def test_a_kink_is_found_between_frames():
    times_s = np.arange(20.0)
    curve = 100 - 6 * np.clip(times_s - 8.5, 0, 6) + 3 * np.clip(times_s - 15, 0, None)
    arrival_s, peak = find_bolus(curve, times_s)
    assert arrival_s == pytest.approx(8.5, abs=0.15)
    assert peak == 15


@pytest.mark.parametrize(
    "kind", ["zeros", "no mask", "constant", "three frames", "two frames", "one slice", "no slice"]
)
def test_whatever_a_case_holds_it_is_measured_without_a_warning(kind):
    case = head()
    assert case.perfusion is not None
    values, mask, inserted = case.perfusion.copy(), case.mask.copy(), case.inserted.copy()
    frames = {"three frames": 3, "two frames": 2}.get(kind, FRAMES)
    slices = slice(3, 4) if kind == "one slice" else slice(None)
    if kind == "zeros":
        values[:] = 0
    elif kind == "no mask":
        mask[:] = False
    elif kind == "constant":
        values[:] = 7
    elif kind == "no slice":
        inserted[2], values[2] = True, 0
    attributes = case.attributes | {"frame_times_s": case.attributes["frame_times_s"][:frames]}
    strange = Case("c", values[slices, ..., :frames], mask[slices], inserted[slices, :frames], {}, attributes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured = measure(strange)
    assert findings_of(measured) or kind == "one slice"
    assert measured.images == values[slices].shape[0] * frames
