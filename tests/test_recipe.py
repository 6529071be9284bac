"""The recipe decides what may be mixed: every field but compute_dtype."""

import json
from dataclasses import FrozenInstanceError, fields

import pytest

from embedx import Recipe
from embedx.errors import ParameterError, RecipeMismatchError
from embedx.recipe import Resources

RECIPE = Recipe(encoder="tiny", revision="bundled", weights_sha256="0" * 64, layers=(0, 1, 2))
OTHER = {
    "encoder": "base",
    "revision": "abc",
    "weights_sha256": "1" * 64,
    "layers": (0, 1),
    "pooling": "mean+std",
    "padding": "masked",
    "frontend": "WhisperFeatureExtractor:0123abcd",
    "window_seconds": 5.0,
    "hop_seconds": 5.0,
    "min_tail_seconds": 0.5,
    "offset": "middle",
    "max_seconds": 30.0,
    "sample_rate": 8_000,
    "mixdown": "first",
    "resampler": "soxr:1",
    "decoder": "pyav:2",
    "normalize": False,
    "store_dtype": "float32",
    "preprocessing_version": 2,
}


def test_every_field_is_in_this_test():
    assert {f.name for f in fields(Recipe)} == set(OTHER) | {"compute_dtype"}


@pytest.mark.parametrize("name", OTHER)
def test_each_field_alone_changes_the_fingerprint_and_shows_in_the_diff(name):
    changed = RECIPE.replace(**{name: OTHER[name]})
    assert changed.fingerprint() != RECIPE.fingerprint()
    assert RECIPE.diff(changed) == ((name, getattr(RECIPE, name), OTHER[name]),)
    with pytest.raises(RecipeMismatchError, match=name) as caught:
        RECIPE.require_same(changed, where="emb.h5", advice="Do this.")
    assert repr(OTHER[name]) in str(caught.value)


def test_the_compute_dtype_is_recorded_but_not_compared():
    changed = RECIPE.replace(compute_dtype="bfloat16")
    assert changed.fingerprint() == RECIPE.fingerprint()
    assert json.loads(changed.to_json())["compute_dtype"] == "bfloat16"


def test_a_recipe_survives_json():
    for recipe in (RECIPE, RECIPE.replace(padding="masked", frontend="ASTFeatureExtractor:0123abcd")):
        assert Recipe.from_json(recipe.to_json()) == recipe


def test_fields_that_came_later_leave_old_recipes_as_they_were():
    assert RECIPE.fingerprint() == "951003b6a670acbc6bf20a2ad9c94d831dedf8d178efca07b70c933b38b31f64"
    assert {"padding", "frontend"}.isdisjoint(json.loads(RECIPE.to_json()))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "nonsense",
        json.dumps({**json.loads(RECIPE.to_json()), "extra": 1}),
        json.dumps({**json.loads(RECIPE.to_json()), "layers": ["a"]}),
        json.dumps({**json.loads(RECIPE.to_json()), "encoder": 7}),
        json.dumps({**json.loads(RECIPE.to_json()), "layers": 3}),
    ],
)
def test_what_is_no_recipe_is_refused(text):
    with pytest.raises(ValueError, match=r"recipe|Expecting"):
        Recipe.from_json(text)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_a_time_limit_that_is_no_time_is_refused(seconds):
    with pytest.raises(ParameterError, match=r"silence_timeout_seconds is .*: give seconds above 0"):
        Resources(silence_timeout_seconds=seconds)


@pytest.mark.parametrize("name", ["workers", "threads"])
def test_no_worker_and_no_thread_are_numbers_and_less_is_none(name):
    assert getattr(Resources(**{name: 0}), name) == 0
    assert getattr(Resources(**{name: 1}), name) == 1
    with pytest.raises(ParameterError, match=f"{name} is -1: give 0 or more"):
        Resources(**{name: -1})


def test_resources_leave_the_choice_to_the_machine_and_cannot_be_changed():
    resources = Resources()
    chosen = (resources.device, resources.workers, resources.threads, resources.devices, resources.compile)
    assert chosen == ("auto", None, 0, (), False)
    with pytest.raises(FrozenInstanceError):
        resources.threads = 2
