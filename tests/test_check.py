"""The guard over the benchmarks' ratios: a loss of more than a fifth fails, noise and gains do not."""

import pytest

from benchmarks import check


@pytest.fixture
def measured(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "RATIOS", tmp_path)
    monkeypatch.setattr(check, "COMMITTED", tmp_path / "committed" / "ratios.json")
    check.COMMITTED.parent.mkdir()
    (tmp_path / "step.json").write_text('{"step: torch": 2.0, "step: keras": 3.0}')
    return tmp_path / "step.json"


def test_ratios_that_were_accepted_are_the_measure_of_later_ones(measured, capsys):
    check.compare(accept=True)
    measured.write_text('{"step: torch": 1.7, "step: keras": 9.0}')
    check.compare(accept=False)
    measured.write_text('{"step: torch": 1.5}')
    with pytest.raises(SystemExit, match=r"lost more than a fifth\n  step: torch: 1.50, committed 2.00"):
        check.compare(accept=False)
    assert "not measured here: step: keras" in capsys.readouterr().out


def test_nothing_measured_names_what_to_run(measured):
    measured.unlink()
    with pytest.raises(SystemExit, match=r"run a benchmark first, e\.g\. python -m benchmarks\.pointwise"):
        check.compare(accept=False)
