"""What was saved predicts the same, and a damaged or hostile folder is refused in one line."""

from __future__ import annotations

import ast
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from safetensors.numpy import load_file, save_file
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB

from embedx.cli import main
from embedx.errors import ManifestError, ModelFormatError, ParameterError, RecipeMismatchError
from embedx.heads.catalog import CATALOG, make_head
from embedx.model import Model, describe, fit_model

FORMATS = Path(__file__).parents[1] / "formats"


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("head", sorted(name for name, spec in CATALOG.items() if spec.input_kind != "sources"))
def test_saved_model_predicts_the_same(make_dataset, tmp_path, head, n_classes):
    dataset = make_dataset(n_classes=n_classes)
    model = fit_model(dataset, head)
    model.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict_proba(dataset), model.predict_proba(dataset))
    assert loaded.classes == model.classes
    assert list(loaded.predict_dataset(dataset)) == list(model.estimator.predict(dataset.inputs_for(model)))
    assert head in describe(tmp_path / "m")[0]
    loaded.save(tmp_path / "again")
    np.testing.assert_array_equal(Model.load(tmp_path / "again").predict_proba(dataset), model.predict_proba(dataset))
    assert not {p.suffix for p in (tmp_path / "m").iterdir()} - {".json", ".safetensors", ".txt", ".md"}


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_every_kind_of_network_is_kept(make_dataset, tmp_path, norm):
    dataset = make_dataset()
    params = {"norm": norm, "n_hidden": 2, "layer": "learned", "width": 16, "max_epochs": 3}
    model = fit_model(dataset, "mlp", params=params)
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(Model.load(tmp_path / "m").predict_proba(dataset), model.predict_proba(dataset))


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_is_kept_and_reported(make_dataset, tmp_path, method):
    dataset = make_dataset(n=120, gap=0.4)
    model = fit_model(dataset, "knn", calibrate=method)
    model.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict_proba(dataset), model.predict_proba(dataset))
    assert not np.allclose(loaded.predict_proba(dataset), fit_model(dataset, "knn").predict_proba(dataset))
    assert model.scores["calibration"]["log_loss_after"] < model.scores["calibration"]["log_loss_before"]
    assert "log_loss_after" in "\n".join(describe(tmp_path / "m"))


@pytest.mark.parametrize(
    ("clips", "told"), [([], "no clip to label"), ([np.zeros(9)], "no sampling rate"), ([None], "is a NoneType")]
)
def test_what_is_no_list_of_clips_is_one_line(make_dataset, clips, told):
    with pytest.raises(ManifestError if not clips else ParameterError, match=told):
        fit_model(make_dataset(), "knn").predict(clips)


def test_scores_on_held_out_clips_stand_beside_the_majority(make_dataset):
    dataset = make_dataset(n=90)
    model = fit_model(dataset.take(range(60)), "logreg", params={"layer": 1}, valid=dataset.take(range(60, 90)))
    assert model.scores["valid"]["accuracy"] > 0.8 > 0.4 > model.scores["majority"]["accuracy"]
    assert model.scores["valid"]["n_clips"] == 30


def test_format_1_0_is_read_and_migrated():
    expected = json.loads((FORMATS / "model-1.0.json").read_text())
    model = Model.load(FORMATS / "model-1.0")
    X = np.asarray(expected["X"], dtype=np.float32)
    np.testing.assert_allclose(model.estimator.predict_proba(X), expected["proba"], rtol=1e-6)
    assert model.calibration is None


def test_equal_calls_write_equal_bytes(make_dataset, tmp_path):
    for name in ("a", "b"):
        fit_model(make_dataset(), "lgbm").save(tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_saving_twice_replaces_and_never_mixes(make_dataset, tmp_path):
    place = tmp_path / "m"
    fit_model(make_dataset(), "lgbm").save(place)
    fit_model(make_dataset(), "logreg").save(place)
    assert sorted(path.name for path in place.iterdir()) == ["README.md", "arrays.safetensors", "model.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"], "nothing is left beside it"
    assert Model.load(place).head == "logreg"


def test_folders_of_somebody_else_are_left_alone(make_dataset, tmp_path):
    model = fit_model(make_dataset(), "majority")
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ModelFormatError, match="holds files but no model"):
        model.save(tmp_path)
    with pytest.raises(ModelFormatError, match="is not a folder"):
        model.save(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFormatError, match="cannot be written"):
        model.save(tmp_path / "file" / "model")


def test_a_store_of_another_recipe_is_refused_by_field(make_dataset):
    dataset = make_dataset()
    model = fit_model(dataset, "logreg")
    other = replace(dataset, recipe=dataset.recipe.replace(hop_seconds=5.0, encoder="base"))
    with pytest.raises(RecipeMismatchError, match=r"encoder: recorded 'tiny', asked 'base'; hop_seconds") as caught:
        model.predict_dataset(other)
    assert [name for name, *_ in caught.value.differences] == ["encoder", "hop_seconds"]
    in_bf16 = replace(dataset, recipe=dataset.recipe.replace(compute_dtype="bfloat16"))
    assert len(model.predict_dataset(in_bf16)) == 60


def test_ones_own_classifier_goes_through_skops(make_dataset, tmp_path):
    dataset = make_dataset()
    model = fit_model(dataset, LinearDiscriminantAnalysis())
    model.save(tmp_path / "m")
    assert (tmp_path / "m" / "head.skops").exists()
    np.testing.assert_array_equal(Model.load(tmp_path / "m").predict_proba(dataset), model.predict_proba(dataset))


def test_types_that_skops_does_not_trust_are_trusted_by_name(make_dataset, tmp_path):
    dataset, tree = make_dataset(), "sklearn.tree._tree.Tree"
    model = fit_model(dataset, RandomForestClassifier(n_estimators=5), calibrate=True)
    model.save(tmp_path / "m")
    with pytest.raises(ModelFormatError, match=rf"types that embedx does not know: {tree}\. If you trust") as caught:
        Model.load(tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert f"embedx predict --trust {tree}, or Model.load(folder, trusted=['{tree}'])" in str(caught.value)
    loaded = Model.load(tmp_path / "m", trusted=[tree])
    np.testing.assert_array_equal(loaded.predict_proba(dataset), model.predict_proba(dataset))


def voting():
    heads = [(name, make_head(name, n_layers=1, random_state=0)) for name in ("logreg", "knn", "mlp")]
    return VotingClassifier(heads, voting="soft")


def searching():
    head = make_head("knn", n_layers=1, random_state=0)
    return GridSearchCV(head, {f"{head.steps[-1][0]}__n_neighbors": [1, 3]}, cv=2)


@pytest.mark.parametrize("make", [voting, searching])
def test_what_is_fitted_around_our_heads_is_loaded_by_what_the_message_says(make, make_dataset, tmp_path, capsys):
    dataset = make_dataset()
    model = fit_model(dataset, make())
    model.save(tmp_path / "m")
    with pytest.raises(ModelFormatError, match="embedx predict --trust") as caught:
        Model.load(tmp_path / "m")
    told = str(caught.value)
    trusted = ast.literal_eval(told[told.index("trusted=") + len("trusted=") :].removesuffix(")"))
    np.testing.assert_array_equal(
        Model.load(tmp_path / "m", trusted=trusted).predict_proba(dataset), model.predict_proba(dataset)
    )
    options = told[told.index("--trust") : told.index(", or Model")].split()
    assert main(["predict", str(tmp_path / "m"), "nowhere.wav", *options]) == 2
    assert "nowhere.wav does not exist" in capsys.readouterr().err


def test_a_booster_of_ones_own_is_not_saved_and_the_message_says_what_to_do(make_dataset, tmp_path):
    model = fit_model(make_dataset(), LGBMClassifier(n_estimators=2, verbose=-1))
    with pytest.raises(ModelFormatError, match=r"never loads one, trusted or not\. Train it as the head 'lgbm'"):
        model.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


class Mine(GaussianNB):
    """A classifier that skops cannot know."""


def test_a_class_of_ones_own_is_named(make_dataset, tmp_path):
    fit_model(make_dataset(), Mine()).save(tmp_path / "m")
    with pytest.raises(ModelFormatError, match=rf"does not know: {Mine.__module__}\.Mine"):
        Model.load(tmp_path / "m")


class Unsavable(GaussianNB):
    def fit(self, X, y):
        self.handle_ = open(os.devnull)  # noqa: SIM115
        return super().fit(X, y)


def test_what_cannot_be_saved_says_so(make_dataset, tmp_path):
    model = fit_model(make_dataset(), Unsavable())
    with pytest.raises(ModelFormatError, match="cannot be saved without pickle") as caught:
        model.save(tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())
    model.estimator[-1].handle_.close()


# Hostile folders -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(make_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    dataset = make_dataset()
    for head in ("logreg", "lgbm", "mlp", "knn"):
        fit_model(dataset, head, calibrate="isotonic" if head == "logreg" else False).save(folder / head)
    return folder


@pytest.fixture
def model_folder(saved, tmp_path):
    def copy(head="logreg"):
        return Path(shutil.copytree(saved / head, tmp_path / "m"))

    return copy


def refused(folder, *words):
    with pytest.raises(ModelFormatError) as caught:
        Model.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 800
    for word in words:
        assert word in message, message
    return message


def change(folder, **fields):
    record = json.loads((folder / "model.json").read_text())
    record.update(fields)
    (folder / "model.json").write_text(json.dumps(record))


def test_no_model_at_all(tmp_path):
    refused(tmp_path, "it has no model.json")
    refused(tmp_path / "nowhere", "it does not exist")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "it is no folder")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', "[" * 100_000, '{"format": "embedx.model"}', '{"format": "other", "version": "1.0"}']
    + ['{"format": "embedx.model", "version": "1.1"}', '{"format": "embedx.model", "version": 1}', '{"a": NaN}', "\0"],
)
def test_json_that_describes_no_model(model_folder, text):
    folder = model_folder()
    (folder / "model.json").write_text(text)
    refused(folder, str(folder))
    with pytest.raises(ModelFormatError):
        describe(folder)


def test_json_that_is_huge_is_not_read(model_folder):
    folder = model_folder()
    with (folder / "model.json").open("wb") as file:
        file.truncate(10 * 2**30)  # sparse
    started = time.monotonic()
    refused(folder, "more than the")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("version", "word"),
    [
        ("3.0", "3.0"),
        ("2.0", "belong to different formats"),
        ("0.9", "0.9"),
        ("1", "no version"),
        ("1.x", "no version"),
    ],
)
def test_another_major_version_is_refused_by_name(model_folder, version, word):
    folder = model_folder()
    change(folder, version=version)
    refused(folder, word)


def test_a_later_minor_version_is_read(model_folder):
    folder = model_folder()
    change(folder, version="1.7", something_new=[1, 2])
    assert Model.load(folder).head == "logreg"


@pytest.mark.parametrize(
    "fields",
    [
        {"classes": ["a"]},
        {"classes": ["a", "a", "b"]},
        {"classes": ["a", "b", 3]},
        {"classes": "abc"},
        {"classes": [["a"], ["b"], ["c"]]},
        {"classes": ["a", "b", "c", "d"]},
        {"n_features": 0},
        {"n_features": -24},
        {"n_features": 10**12},
        {"n_features": 24.0},
        {"n_features": 25},
        {"n_features": 12},
        {"head": "../../etc/passwd"},
        {"head": "lgbm"},
        {"head": "mlp"},
        {"head": "majority"},
        {"head": None},
        {"eats": "sources"},
        {"seed": -1},
        {"seed": "0"},
        {"parameters": {"layer": 77}},
        {"parameters": {"nonsense": 1}},
        {"parameters": {"layer": {"a": 1}}},
        {"parameters": []},
        {"recipe": {}},
        {"recipe": None},
        {"scores": []},
        {"calibration": {"method": "temperature", "temperature": -1, "floor": 1e-3}},
        {"calibration": {"method": "temperature", "temperature": "hot", "floor": 1e-3}},
        {"calibration": {"method": "pickle", "temperature": 1.0, "floor": 1e-3}},
        {"calibration": []},
    ],
    ids=str,
)
def test_fields_that_do_not_fit(model_folder, fields):
    folder = model_folder()
    change(folder, **fields)
    refused(folder, str(folder))


def damaged(arrays):
    """Yield arrays with one thing wrong each."""
    for name, array in arrays.items():
        for kind in ("missing", "shape", "nan", "type", "empty"):
            bad = dict(arrays)
            if kind == "missing":
                del bad[name]
            elif kind == "shape":
                bad[name] = np.concatenate([array, array])
            elif kind == "nan":
                if array.dtype.kind != "f":
                    continue
                bad[name] = np.full_like(array, np.nan)
            elif kind == "type":
                bad[name] = np.zeros(array.shape, dtype=bool)
            else:
                bad[name] = array[:0]
            yield name, kind, bad


@pytest.mark.parametrize("head", ["logreg", "mlp", "knn"])
def test_arrays_that_do_not_fit(model_folder, head):
    folder = model_folder(head)
    arrays = load_file(folder / "arrays.safetensors")
    tried = 0
    for name, kind, bad in damaged(arrays):
        save_file(bad, folder / "arrays.safetensors")
        try:
            refused(folder)
        except BaseException:
            print(name, kind)
            raise
        tried += 1
    assert tried >= 15


def test_neighbours_of_a_class_that_is_not_there(model_folder):
    folder = model_folder("knn")
    arrays = load_file(folder / "arrays.safetensors")
    for label in (3, -1, 10**9):
        save_file({**arrays, "head.labels": np.full_like(arrays["head.labels"], label)}, folder / "arrays.safetensors")
        refused(folder, "head.labels")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 100, b"x" * 10_000])
def test_arrays_that_are_no_safetensors(model_folder, content):
    folder = model_folder()
    (folder / "arrays.safetensors").write_bytes(content)
    refused(folder, "arrays.safetensors")


def test_files_that_are_none(model_folder):
    folder = model_folder()
    (folder / "arrays.safetensors").unlink()
    refused(folder, "is missing or no regular file")
    os.mkfifo(folder / "arrays.safetensors")
    refused(folder, "is missing or no regular file")
    (folder / "model.json").unlink()
    (folder / "model.json").mkdir()
    refused(folder)


def test_a_link_that_is_a_model_is_followed(model_folder, tmp_path):
    folder = model_folder()
    (tmp_path / "link").symlink_to(folder)
    assert Model.load(tmp_path / "link").head == "logreg"


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04" + b"\0" * 64])
def test_skops_that_is_none(model_folder, content):
    folder = model_folder()
    (folder / "head.skops").write_bytes(content)
    refused(folder, "head.skops")


def edit_booster(folder, edit):
    path = folder / "booster.txt"
    text = path.read_text()
    changed = edit(text)
    assert changed != text
    path.write_text(changed)


@pytest.mark.parametrize(
    "edit",
    [
        lambda t: "",
        lambda t: "tree\n",
        lambda t: "\0" * 1000,
        lambda t: t[: len(t) // 2],
        lambda t: t.replace("num_class=3", "num_class=4"),
        lambda t: t.replace("version=v4", "version=v999"),
        lambda t: t.replace("max_feature_idx=7", "max_feature_idx=700000"),
        lambda t: t.replace("objective=multiclass num_class:3", "objective=regression"),
        lambda t: t.replace("objective=multiclass num_class:3", "objective=multiclass num_class:9000"),
        lambda t: t.replace("num_tree_per_iteration=3", "num_tree_per_iteration=1"),
        lambda t: t.replace("split_feature=", "split_feature=99999 ", 1),
        lambda t: t.replace("left_child=", "left_child=-999999 ", 1),
        lambda t: t.replace("right_child=-", "right_child=-9999", 1),
        lambda t: t.replace("num_leaves=", "num_leaves=9", 1),
        lambda t: t.replace("num_leaves=", "num_leaves=-", 1),
        lambda t: t.replace("num_cat=0", "num_cat=5", 1),
        lambda t: t.replace("is_linear=0", "is_linear=1", 1),
        lambda t: t.replace("leaf_value=", "leaf_value=nan ", 1),
        lambda t: t.replace("threshold=", "threshold=x", 1),
        lambda t: t.replace("decision_type=", "decision_type=1", 1).replace("num_cat=0", "num_cat=0\nnum_cat=7", 1),
    ],
)  # fmt: skip
def test_a_booster_that_is_garbage(model_folder, edit):
    folder = model_folder("lgbm")
    edit_booster(folder, edit)
    refused(folder, str(folder))


@pytest.mark.parametrize(
    "edit", [("tree_sizes=", "tree_sizes=99999999 "), ("feature_names=Column_0", "feature_names=")]
)
def test_what_the_trees_do_not_need_is_not_read(model_folder, make_dataset, edit):
    folder = model_folder("lgbm")
    before = Model.load(folder).predict_proba(make_dataset())
    edit_booster(folder, lambda text: text.replace(*edit))
    np.testing.assert_array_equal(Model.load(folder).predict_proba(make_dataset()), before)


def test_bytes_changed_at_random_never_crash(model_folder, make_dataset):
    """A changed digit may be a model of other numbers; anything else is one line, and nothing kills the process."""
    folder, rng = model_folder("lgbm"), np.random.default_rng(0)
    content = (folder / "booster.txt").read_bytes()
    dataset, n_refused = make_dataset(), 0
    for _ in range(150):
        data = bytearray(content)
        for place in rng.integers(0, len(data), 5):
            data[place] = rng.choice(list(b"0123456789-=. \nx"))
        (folder / "booster.txt").write_bytes(bytes(data))
        try:
            Model.load(folder).predict_proba(dataset)
        except ModelFormatError as error:
            n_refused += "\n" not in str(error)
    assert n_refused > 20


def test_loading_imports_no_torch_and_no_lightgbm_for_logreg(saved):
    import subprocess
    import sys

    code = (
        "import sys; from embedx.model import Model; "
        f"Model.load({str(saved / 'logreg')!r}); "
        "print([n for n in ('torch', 'lightgbm', 'optuna', 'transformers', 'h5py') if n in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert found.stdout.strip() == "[]"
