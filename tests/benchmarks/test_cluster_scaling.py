"""What is extrapolated follows from the rates, and names the wall that is hit first."""

import pytest

from benchmarks.cluster.scaling import descendants, processor_seconds, read_rates, rows_of_extrapolation

RATES = {"driver": 5_000.0, "worker": 40_000.0, "publish": 20_000.0}


def rows(**changes):
    return {(row[0], row[1]): row[2:] for row in rows_of_extrapolation(10.0, {**RATES, **changes})}


def test_the_first_wall_is_named():
    found = rows()
    assert found["driver", 1][-1] == found["driver", 8][-1] == "the GPUs"
    assert found["driver", 32][-1] == "the network into the driver"  # 1 Gbit/s are 3,130 rows a second
    assert found["worker", 128][-1] == "the GPUs"
    assert found["worker", 512][-1] == "publishing, which one process does"
    assert rows(driver=2_000.0)["driver", 32][-1] == "the driver's core"
    assert rows(worker=30_000.0, publish=1e9)["worker", 512][-1] == "the driver's core"


def test_time_and_ratio():
    rate, embed, publish, ratio, _ = rows()["worker", 8]
    assert (rate, embed, publish) == (800.0, pytest.approx(1e6 / 800 / 60), pytest.approx(50 / 60))
    assert ratio == pytest.approx((10 + 10_000 + 50) / (10 + 1_250 + 50))
    assert rows()["worker", 1][3] == 1.0


def test_the_committed_rates_are_there():
    assert {"driver", "worker", "publish"} <= read_rates().keys()
    assert all(rate > 1_000 for rate in read_rates().values())


def test_processor_time_counts_the_living_only():
    import os

    assert os.getpid() in descendants(os.getpid())
    assert processor_seconds([os.getpid(), 2**30]) > 0
