"""A loss beyond noise fails, noise does not, and what cannot be compared is said."""

import json

import numpy as np
import pytest

from benchmarks.tools.record import measure
from benchmarks.tools.regression import compare_results, judge, main

MACHINE = {"cpu": "CPU", "cores": 2, "gpu": None}


def result(measures, benchmark="throughput", machine=MACHINE):
    return {"benchmark": benchmark, "machine": machine, "measures": measures}


def seconds(*values, keys=()):
    return measure(values, better="lower", unit="s", keys=keys)


def accuracy(*values, keys=()):
    return measure(values, better="higher", unit="accuracy", keys=keys)


def test_slower_than_noise_is_a_regression_and_faster_is_none():
    old, slow = seconds(10.0, 10.1, 9.9), seconds(12.0, 12.1, 11.9)
    assert judge("x", old, slow).verdict == "worse"
    assert judge("x", slow, old).verdict == "better"
    assert judge("x", old, slow).gain == pytest.approx(-20)


def test_a_loss_within_noise_passes():
    assert judge("x", seconds(10, 14, 8), seconds(11, 15, 9)).verdict == "within noise"


def test_folds_are_compared_in_pairs():
    old = accuracy(0.5, 0.7, 0.9, 0.6, keys="1234")
    new = accuracy(0.48, 0.678, 0.881, 0.579, keys="1234")
    assert judge("x", old, new).verdict == "worse"
    assert judge("x", {**old, "keys": []}, {**new, "keys": []}).verdict == "within noise"


def test_without_noise_any_loss_counts_and_rounding_does_not():
    assert judge("x", accuracy(0.5, 0.5), accuracy(0.49, 0.49)).verdict == "worse"
    assert judge("x", accuracy(0.5, 0.5), accuracy(0.5, 0.5 - 1e-12)).verdict == "same"


def test_a_single_measurement_is_not_judged():
    assert judge("x", seconds(1.0), seconds(9.0)).verdict == "one measurement: not judged"


def test_false_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(0)
    draws = [judge("x", seconds(*rng.normal(10, 1, 4)), seconds(*rng.normal(10, 1, 4)), level=0.05) for _ in range(600)]
    assert sum(draw.is_regression for draw in draws) / 600 < 0.08


def test_other_benchmarks_and_machines_are_refused():
    one = result({"t": seconds(1, 1.1)})
    with pytest.raises(ValueError, match="'throughput' and 'store'"):
        compare_results(one, result({"t": seconds(1, 1.1)}, benchmark="store"))
    with pytest.raises(ValueError, match="no quantity"):
        compare_results(one, result({"other": seconds(1, 1.1)}))
    elsewhere = result({"t": seconds(1, 1.1)}, machine={**MACHINE, "cpu": "another"})
    with pytest.raises(ValueError, match="--across-machines"):
        compare_results(one, elsewhere)
    assert compare_results(one, elsewhere, across_machines=True)[0].verdict == "same"
    scores = [result({"t": accuracy(1, 1)}, machine=m) for m in (MACHINE, {**MACHINE, "cpu": "another"})]
    assert compare_results(*scores)[0].verdict == "same"


@pytest.mark.parametrize(("new", "status"), [((10, 10.1, 10.2), 0), ((20, 20.1, 20.2), 1)])
def test_exit_status(tmp_path, capsys, new, status):
    paths = [tmp_path / "old.json", tmp_path / "new.json"]
    for path, values in zip(paths, ((10, 10.1, 9.9), new), strict=True):
        path.write_text(json.dumps(result({"loop: seconds": seconds(*values)})))
    assert main([str(path) for path in paths]) == status
    assert f"{status} of 1 quantities got worse" in capsys.readouterr().out


def test_unreadable_files_are_bad_input(tmp_path, capsys):
    (tmp_path / "a.json").write_text("no json")
    assert main([str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "cannot compare" in capsys.readouterr().out
