"""The card of a saved model says what it is and what to expect of it; labels are shown, never obeyed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from huggingface_hub import ModelCard

from embedx.errors import ModelFormatError
from embedx.model import Model, fit_model
from embedx.model.card_seal import is_own_card
from embedx.model.model_card import render_card

HOSTILE = "x`| <script>alert(1)</script>\n# [a](http://b)\n---\nlicense: mit \x1b[31m"


def on_hub(dataset, encoder="microsoft/wavlm-base"):
    return replace(dataset, recipe=dataset.recipe.replace(encoder=encoder, revision="0" * 40))


@pytest.fixture(scope="module")
def judged(make_dataset):
    dataset = on_hub(make_dataset(n=90, gap=0.5))
    return fit_model(dataset.take(range(60)), "logreg", valid=dataset.take(range(60, 90)))


def test_the_hub_reads_what_stands_at_the_top(judged, tmp_path):
    card = ModelCard.load(judged.save(tmp_path / "m") / "README.md")
    facts = card.data.to_dict()
    assert facts["library_name"] == "embedx"
    assert facts["pipeline_tag"] == "audio-classification"
    assert facts["base_model"] == "microsoft/wavlm-base"
    assert "license" not in facts  # of the head alone, whoever shares it decides
    (result,) = [one for one in card.data.eval_results if one.metric_type == "accuracy"]
    assert result.metric_value == pytest.approx(judged.scores["valid"]["accuracy"], abs=1e-6)


def test_a_reader_finds_data_scores_control_confusions_limits_and_licence(judged, tmp_path):
    text = (judged.save(tmp_path / "m") / "README.md").read_text()
    for told in (
        "60 clips: 20 `class 0`",
        "They are of ",
        "| this model | 0.",
        "| the most frequent class, whatever is heard | 0.",
        "95 % interval",
        "was taken for `class",
        "windows of 10 s every 10 s",
        "Its encoder learned from English speech",
        "not calibrated",
        "CC BY-SA 3.0",
    ):
        assert told in text, told
    confused = judged.scores["valid"]["confusions"]
    assert sum(n for *_, n in confused) == round(30 * (1 - judged.scores["valid"]["accuracy"]))
    assert Model.load(tmp_path / "m").scores["valid"]["confusions"] == [list(pair) for pair in confused]


def test_what_was_not_measured_is_not_told(make_dataset, tmp_path):
    model = fit_model(make_dataset(), "logmel")
    text = (model.save(tmp_path / "m") / "README.md").read_text()
    assert "nothing was measured" in text
    for absent in ("## Confusions", "model-index", "base_model"):
        assert absent not in text


def test_the_folder_of_an_encoder_is_not_told(make_dataset):
    dataset = make_dataset()
    recipe = dataset.recipe.replace(encoder="/home/somebody/secret/enc", revision="local")
    card = render_card(fit_model(replace(dataset, recipe=recipe), "majority"), {})
    assert "secret" not in card
    assert "`enc`" in card
    assert "has to lie at the same place" in card


def test_groups_are_counted(make_dataset):
    dataset = make_dataset()
    grouped = replace(dataset, sources=tuple(replace(s, group=f"g{i % 4}") for i, s in enumerate(dataset.sources)))
    assert "They are of 4 groups" in render_card(fit_model(grouped, "majority"), {})
    alone = replace(dataset, sources=tuple(replace(source, group=None) for source in dataset.sources))
    assert "No groups (recordings, speakers) were named" in render_card(fit_model(alone, "majority"), {})


def test_hostile_labels_are_shown_as_they_are_and_obeyed_nowhere(make_dataset, tmp_path):
    dataset = make_dataset()
    named = {"class 0": HOSTILE, "class 1": "``", "class 2": " "}
    sources = tuple(replace(source, label=named[source.label]) for source in dataset.sources)
    dataset = replace(dataset, sources=sources)
    place = fit_model(dataset, "logreg", valid=dataset).save(tmp_path / "m") / "README.md"
    card = ModelCard.load(place)
    assert "license" not in card.data.to_dict()
    text = place.read_text()
    assert "\x1b" not in text
    assert f"`` {json.dumps(HOSTILE)[1:-1]} ``" in text or f"``{json.dumps(HOSTILE)[1:-1]}``" in text
    assert is_own_card(place)


@pytest.mark.parametrize("change", ["\nMy own words.\n", "", "\udcff"])
def test_a_card_that_was_changed_is_never_lost(judged, tmp_path, change):
    card = judged.save(tmp_path / "m") / "README.md"
    assert is_own_card(card)
    text = (card.read_text() + change if change else "mine").encode("utf-8", "surrogateescape")
    card.write_bytes(text)
    assert not is_own_card(card)
    with pytest.raises(ModelFormatError, match=r"README\.md was changed since embedx wrote it.*move it away") as caught:
        judged.save(tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert card.read_bytes() == text
    card.rename(tmp_path / "README.md")
    judged.save(tmp_path / "m")
    assert is_own_card(card)


def test_folders_without_a_card_are_models_as_before(judged, make_dataset, tmp_path):
    place = judged.save(tmp_path / "m")
    (place / "README.md").unlink()
    assert Model.load(place).head == "logreg"
    judged.save(place)
    assert is_own_card(place / "README.md")
    (place / "README.md").unlink()
    (place / "README.md").mkdir()
    with pytest.raises(ModelFormatError, match="was changed"):
        judged.save(place)


@pytest.mark.parametrize(
    "fields",
    [
        {"scores": {"valid": {"accuracy": "high", "n_clips": 3}}},
        {"scores": {"valid": {"accuracy": 0.5, "n_clips": None}}},
        {"scores": {"valid": {"accuracy": 0.5, "n_clips": 3, "confusions": [[1]]}}},
        {"training": {"clips_a_class": 3}},
        {"training": {"n_groups": "many", "n_clips": [1]}},
    ],
    ids=str,
)
def test_records_of_somebody_elses_making_are_one_line(judged, tmp_path, fields):
    with pytest.raises(ModelFormatError, match="not as embedx writes them") as caught:
        replace(judged, **fields).save(tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m").exists()


def test_old_models_get_a_card_when_they_are_saved_again(judged, tmp_path):
    old = replace(judged, training={"n_clips": 7}, scores={})
    text = (old.save(tmp_path / "m") / "README.md").read_text()
    assert "7 clips. How many recordings or speakers they are of was not noted." in text


def test_an_interval_is_that_of_few_clips(judged):
    lines = render_card(judged, {}).splitlines()
    (row,) = [line for line in lines if line.startswith("| this model")]
    low, high = row.split("|")[3].split(" to ")
    assert float(low) < judged.scores["valid"]["accuracy"] < float(high)
    assert float(high) - float(low) > 0.1
    assert np.isfinite(float(low))
