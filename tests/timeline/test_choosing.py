"""Options are chosen on recordings whose truth is known, class by class, and kept in a file."""

import json

import numpy as np
import pytest

from embedx.errors import ParameterError
from embedx.timeline import OptionsFile, Segment, SegmentOptions, TimeLine, choose_options, score_events


def make_recording(seed, classes=("dog", "rain")):
    """A dog that the model is hardly sure of, and rain that flickers; both with noise."""
    rng = np.random.default_rng(seed)
    starts = np.arange(120) * 0.5
    proba, truth = rng.uniform(0.0, 0.15, (120, 2)), []
    for column, (name, level) in enumerate(zip(classes, (0.35, 0.9), strict=True)):
        for first in range(4 + 3 * column, 110, 20):
            proba[first : first + 8, column] = level + rng.uniform(-0.04, 0.04, 8)
            if name == "rain":
                proba[first + 4, column] = 0.1
            truth.append(Segment(starts[first] + 0.25, starts[first + 8] + 0.25, name))
    return TimeLine(path="a.wav", classes=classes, start_seconds=starts, end_seconds=starts + 1, proba=proba), truth


def test_what_is_chosen_on_some_recordings_is_better_on_others():
    chosen = choose_options([make_recording(seed) for seed in (0, 1)])
    assert chosen.of("dog", "high") < 0.35
    assert chosen.of("rain", "merge_seconds") > 0 or chosen.smooth_seconds > 0
    line, truth = make_recording(2)
    before, after = (score_events([(truth, one.segments)]) for one in (line, line.with_options(chosen)))
    assert before["overall"]["f1"] <= 0.5
    assert after["overall"]["f1"] == 1.0


def test_what_is_good_already_stays():
    line, truth = make_recording(0)
    start = choose_options([(line, truth)])
    assert choose_options([(line.with_options(start), truth)]) == start
    only_dog = [segment for segment in truth if segment.label == "dog"]
    assert "rain" not in choose_options([(line, only_dog)]).by_class  # without a true event there is nothing to learn


@pytest.mark.parametrize(
    ("truth", "options", "told"),
    [([], {}, "no true event"), ([Segment(0, 1, "dog")], {"by": "luck"}, "unknown by 'luck'")],
)
def test_what_cannot_be_chosen(truth, options, told):
    with pytest.raises(ParameterError, match=told):
        choose_options([(make_recording(0)[0], truth)], **options)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text[:50], "is no JSON"),
        (lambda text: "[]", "holds no options"),
        (lambda text: text.replace('"high": 0.7', '"high": 7'), "high=7"),
        (lambda text: text.replace('"high"', '"hihg"'), "an option that is none"),
        (lambda text: json.dumps({**json.loads(text), "more": 1}), "an option that is none"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, change, told):
    place = tmp_path / "options.json"
    made = OptionsFile(options=SegmentOptions(high=0.7, leave_out=("x",)), window_seconds=1.0, hop_seconds=0.5)
    made.save(place)
    assert OptionsFile.read(place) == made
    place.write_text(change(place.read_text()))
    with pytest.raises(ParameterError, match=told):
        OptionsFile.read(place)
    with pytest.raises(ParameterError, match="cannot be read"):
        OptionsFile.read(tmp_path / "no.json")
