"""The table on paper is arithmetic on measured rates, and names what holds each size up."""

import copy
import json
import tomllib
from dataclasses import replace

import pytest

from benchmarks.scaling.on_paper import ASSUMED, draw_scaling, read_rates
from benchmarks.tools.record import RESULTS

RATES = replace(
    read_rates(),
    **{"cpu": 36.0, "cores": 2, "decode": 1000.0, "commit": 5000.0, "publish": 10_000.0, "verify": 10_000.0},
    **{"load": 100_000.0, "row_bytes": 20_000.0, "layer_bytes": 1536.0, "driver": 5000.0, "worker": 40_000.0},
    fit=10_000.0,
)
KNOWN = tomllib.loads(ASSUMED.read_text(encoding="utf-8"))


def draw(hours, **changes):
    assumed = copy.deepcopy(KNOWN)
    assumed["sizes"] = {"it": hours}
    for name, value in changes.items():
        section, key = name.split("__")
        assumed[section][key] = value
    tables = draw_scaling(RATES, assumed)
    steps = {row[0]: row[1] for row in tables["steps"]["rows"]}
    return steps, dict(zip(tables["engines"]["columns"], tables["engines"]["rows"][0], strict=True))


def test_steps_of_a_hundred_hours():
    steps, engine = draw(100)
    assert steps["windows of 10 s"] == "36,000"
    assert steps["audio"] == "5.76 GB"
    assert steps["embed, the measured cores"] == "2.78 h, $0.22"
    assert steps["decode, one core"] == "6 min, under $0.01"
    assert steps["store, 13 layers"] == "720 MB"
    assert steps["commit the rows"] == "7.2 s"
    assert steps["memory of one layer, float32"] == "111 MB"
    assert engine["engine"] == "local, CPU"


def test_the_wall_moves_from_the_encoder_to_decoding_to_the_driver():
    assert draw(800)[1]["what holds it up"] == "the encoder"
    assert draw(10_000)[1]["what holds it up"] == "decoding"
    assert draw(10_000, gpu_machine__cores=64)[1]["what holds it up"] == "the GPU"
    huge = draw(10_000_000)[1]
    assert huge["engine"] == "Ray, --parts worker"
    assert huge["machines"] > 10


@pytest.mark.parametrize("hours", [1000, 30_000, 1_000_000])
def test_the_machines_named_do_it_in_the_time_asked_for(hours):
    engine = draw(hours)[1]
    assert float(engine["days"].replace(",", "")) <= KNOWN["goal"]["days"]


def test_the_committed_table_comes_from_the_committed_rates():
    record = json.loads((RESULTS / "scaling.json").read_text(encoding="utf-8"))
    assert record["tables"] == draw_scaling(read_rates(), KNOWN), "run: python -m benchmarks.scaling.on_paper"
    assert set(record["inputs"]) == {"throughput-cpu", "store_scale", "cluster-driver", "rates"}
