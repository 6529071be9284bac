"""Models go to a hub that answers as the real one does, and come back as they were; nothing else is fetched or run."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from embedx.cli import main
from embedx.errors import EmbedxWarning, ModelFormatError
from embedx.model import Model, describe, fit_model
from embedx.model.card_seal import is_own_card
from tests.encoders.hub_server import running_hub

REPO = "someone/barks"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub where the token of ``someone`` is logged in, and an empty cache."""
    with running_hub(monkeypatch, tmp_path / "cache") as server:
        server.tokens = {"hf_someone": {"someone"}, "hf_reader": set()}
        monkeypatch.setenv("HF_TOKEN", "hf_someone")
        yield server


@pytest.fixture(scope="module")
def models(make_dataset):
    return {name: fit_model(make_dataset(), name) for name in ("logreg", "lgbm")}


def files_of(hub, repo=REPO, branch="main"):
    return hub.commits[repo][hub.branches[repo][branch]]


@pytest.mark.parametrize("head", ["logreg", "lgbm", "knn", "mlp"])
def test_what_is_pushed_comes_back(hub, make_dataset, head):
    dataset = make_dataset()
    model = fit_model(dataset, head, calibrate="temperature")
    commit = model.push_to_hub(REPO, message="First barks")
    assert commit == hub.branches[REPO]["main"]
    assert hub.messages == ["First barks"]
    assert {"README.md", "model.json", "arrays.safetensors", ".gitattributes"} <= files_of(hub).keys()
    loaded = Model.from_pretrained(REPO)
    np.testing.assert_array_equal(loaded.predict_proba(dataset), model.predict_proba(dataset))


def test_ones_own_classifier_is_loaded_when_its_types_are_trusted(hub, make_dataset):
    from sklearn.ensemble import RandomForestClassifier

    fit_model(make_dataset(), LinearDiscriminantAnalysis()).push_to_hub(REPO)
    assert "head.skops" in files_of(hub)
    assert Model.from_pretrained(REPO).head == "LinearDiscriminantAnalysis"
    fit_model(make_dataset(), RandomForestClassifier(n_estimators=2)).push_to_hub(REPO)
    with pytest.raises(ModelFormatError, match="types that embedx does not know"):
        Model.from_pretrained(REPO)
    assert Model.from_pretrained(REPO, trusted=["sklearn.tree._tree.Tree"])


def test_a_repository_is_made_as_it_was_asked_for(hub, models):
    models["logreg"].push_to_hub(REPO, private=True)
    assert hub.made[REPO] == "private"
    models["logreg"].push_to_hub("someone/open", private=False)
    assert hub.made["someone/open"] == "public"
    assert Model.from_pretrained(REPO).head == "logreg"  # the token may


def test_a_branch_has_a_model_of_its_own(hub, models):
    models["logreg"].push_to_hub(REPO)
    models["lgbm"].push_to_hub(REPO, revision="trees")
    models["lgbm"].push_to_hub(REPO, revision="trees", message="again")
    assert Model.from_pretrained(REPO).head == "logreg"
    assert Model.from_pretrained(REPO, revision="trees").head == "lgbm"


def test_files_of_another_model_do_not_stay(hub, models):
    models["lgbm"].push_to_hub(REPO)
    hub.add(REPO, {**files_of(hub), "notes.txt": b"mine", "head.skops": b"old"})
    models["logreg"].push_to_hub(REPO)
    assert set(files_of(hub)) == {".gitattributes", "README.md", "arrays.safetensors", "model.json", "notes.txt"}
    assert Model.from_pretrained(REPO).head == "logreg"


def test_a_card_that_was_changed_on_the_hub_stays(hub, models):
    models["lgbm"].push_to_hub(REPO)
    models["logreg"].push_to_hub(REPO)
    hub.add(REPO, {**files_of(hub), "README.md": b"My words."})
    with pytest.warns(EmbedxWarning, match="was changed on the hub and stays"):
        models["lgbm"].push_to_hub(REPO)
    assert files_of(hub)["README.md"] == b"My words."
    assert Model.from_pretrained(REPO).head == "lgbm"


def test_a_commit_that_is_here_asks_nobody(hub, models):
    first = models["logreg"].push_to_hub(REPO)
    models["lgbm"].push_to_hub(REPO)
    assert Model.from_pretrained(REPO, revision=first).head == "logreg"
    hub.asked.clear()
    assert Model.from_pretrained(REPO, revision=first).head == "logreg"
    assert hub.asked == []


def test_only_files_of_a_model_are_fetched(hub, models):
    models["logreg"].push_to_hub(REPO)
    more = {"pytorch_model.bin": b"\x80\x04N.", "modeling.py": b"1 / 0", "a/config.py": b"1 / 0", "head.pkl": b"."}
    hub.add(REPO, {**files_of(hub), **more})
    hub.asked.clear()
    Model.from_pretrained(REPO)
    assert not [path for _, path, _ in hub.asked if path.endswith((".bin", ".py", ".pkl"))]


def test_what_is_missing_or_forbidden_is_one_line(hub, models, monkeypatch):
    models["logreg"].push_to_hub(REPO)
    hub.add("someone/text", {"config.json": b"{}"})
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    hub.add("someone/secret", {"model.json": b"{}"})
    hub.private.add("someone/secret")
    for repo, revision, says in (
        ("someone/none", None, "the hub has no model 'someone/none', or it is private"),
        ("someone/secret", None, "the hub has no model 'someone/secret', or it is private"),
        (REPO, "v9", "has no revision 'v9'"),
        ("someone/text", None, "is no embedx model: it has no model.json"),
        ("../../etc", None, "is no hub id"),
        ("a/b/c", None, "is no hub id"),
        ("", None, "is no hub id"),
    ):
        with pytest.raises(ModelFormatError, match=re.escape(says)) as caught:
            Model.from_pretrained(repo, revision=revision)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token", ["hf_reader", "hf_nobody"])
def test_who_may_not_write_is_told_in_one_line(hub, models, monkeypatch, token):
    models["logreg"].push_to_hub(REPO)
    before = dict(hub.branches[REPO])
    for repo in (REPO, "someone/new"):
        with pytest.raises(ModelFormatError, match=f"no right to write to '{repo}'.*hf auth login") as caught:
            models["lgbm"].push_to_hub(repo, token=token)
        assert "\n" not in str(caught.value)
    assert hub.branches[REPO] == before


def test_a_name_that_is_none_is_not_pushed_to(hub, models):
    with pytest.raises(ModelFormatError, match="is no hub id: give OWNER/NAME"):
        models["logreg"].push_to_hub("a/b/c")


def test_somebody_who_commits_meanwhile_loses_nothing(hub, models, monkeypatch):
    import huggingface_hub

    models["logreg"].push_to_hub(REPO)
    real = huggingface_hub.HfApi.create_commit

    def late(self, *args, **options):
        hub.add(REPO, {**files_of(hub), "theirs.txt": b"x"})
        return real(self, *args, **options)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", late)
    with pytest.raises(ModelFormatError, match=r"was changed on the hub meanwhile.*push again"):
        models["lgbm"].push_to_hub(REPO)
    assert files_of(hub)["theirs.txt"] == b"x"
    assert "booster.txt" not in files_of(hub)


def test_a_hub_that_is_gone(hub, models):
    models["logreg"].push_to_hub(REPO)
    assert Model.from_pretrained(REPO).head == "logreg"
    hub.close()
    assert Model.from_pretrained(REPO).head == "logreg"  # of the cache
    with pytest.raises(ModelFormatError, match="not in the cache and the hub cannot be reached"):
        Model.from_pretrained("someone/other")
    with pytest.raises(ModelFormatError, match="was not pushed: the hub cannot be reached") as told:
        models["lgbm"].push_to_hub(REPO)
    assert "\n" not in str(told.value)


def test_a_name_with_hf_before_it_is_one_of_the_hub_unless_a_folder_has_it(hub, models, tmp_path, monkeypatch, capsys):
    commit = models["logreg"].push_to_hub(REPO)
    models["lgbm"].push_to_hub(REPO)
    assert Model.load(f"hf:{REPO}").head == "lgbm"
    assert Model.load(f"hf:{REPO}@{commit}").head == "logreg"
    assert "model: lgbm" in describe(f"hf:{REPO}")[0]
    assert main(["info", f"hf:{REPO}@{commit}"]) == 0
    assert "model: logreg" in capsys.readouterr().out
    assert main(["predict", "hf:someone/none", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    monkeypatch.chdir(tmp_path)
    models["logreg"].save(f"hf:{REPO}")
    hub.asked.clear()
    assert Model.load(f"hf:{REPO}").head == "logreg"
    assert hub.asked == []


def test_a_path_never_leads_to_the_hub(hub, models, tmp_path, monkeypatch):
    models["logreg"].push_to_hub(REPO)
    hub.asked.clear()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFormatError, match=f"does not exist.*hf:{REPO} for a model of the hub"):
        Model.load(REPO)
    assert hub.asked == []


def test_the_card_on_the_hub_is_ours(hub, models, tmp_path):
    models["logreg"].push_to_hub(REPO)
    (tmp_path / "README.md").write_bytes(files_of(hub)["README.md"])
    assert is_own_card(tmp_path / "README.md")
