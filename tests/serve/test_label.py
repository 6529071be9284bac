"""Labelling by HTTP and in a real browser: what was answered is on disk, and two pages never mix."""

import csv
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from embedx import load_embeddings
from embedx.cli import main
from embedx.testing import make_dataset, make_store
from tests.chromium import chromium
from tests.serve.conftest import served

JSON = {"Content_Type": "application/json"}


def post(server, path, **facts):
    return server.ask(path, json.dumps({"tab": "a", **facts}), **JSON)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def truth(unlabelled):
    return [Path(source.uri).parent.name for source in load_embeddings(unlabelled).sources]


def test_labels_by_http_are_on_disk_when_they_are_answered(unlabelled, truth, tmp_path):
    place = tmp_path / "labels.csv"
    with served(unlabelled, "-o", place, "--classes", "low,middle", command="label") as server:
        assert server.ask("/healthz") == (200, {"status": "ok"})
        status, asked = post(server, "/next")
        assert (status, asked["classes"], asked["guesses"]) == (200, ["low", "middle"], None)
        for n in range(1, 13):
            assert server.ask(f"/clips/{asked['clip']}")[1][:4] == b"OggS"
            label = truth[asked["clip"]]
            status, asked = post(server, "/label", clip=asked["clip"], label=label, seen=asked["label"])
            assert status == 200
            assert len(rows(place)) == n
        status, other = server.ask("/next", json.dumps({"tab": "b"}), **JSON)
        assert (status, other["clip"] != asked["clip"]) == (200, True)
        assert post(server, "/label", clip=other["clip"], label="low")[0] == 200
        refused = server.ask("/label", json.dumps({"tab": "b", "clip": other["clip"], "label": "high"}), **JSON)
        assert refused == (409, {"error": "this clip was answered on another page: it was labelled 'low'"})
        assert post(server, "/undo")[1]["clip"] == other["clip"]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    assert {Path(row["path"]).parent.name for row in rows(place)} == {row["label"] for row in rows(place)}
    assert len(rows(place)) == 12
    with served(unlabelled, "-o", place, command="label") as server:  # after the kill it goes on
        assert "12 of 24 clips so far" in server.line
        asked = post(server, "/next")[1]
        answer = post(server, "/label", clip=asked["clip"], label=truth[asked["clip"]], seen=asked["label"])
        assert answer[0] == 200
        (out, err), code = server.stop(signal.SIGINT)
        assert (out, err, code) == (f"stopped: 1 label more, 13 in {place}\n", "", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]
    read = load_embeddings(unlabelled, labels=place)
    assert all(source.label in (None, truth[i]) for i, source in enumerate(read.sources))


@pytest.mark.parametrize(
    ("path", "facts", "headers", "status", "says"),
    [
        ("/label", {"clip": 0, "label": " "}, {}, 422, "the label is empty"),
        ("/label", {"clip": 10_000, "label": "dog"}, {}, 422, "no clip 10000"),
        ("/label", {"clip": "../etc", "label": "dog"}, {}, 422, "body.clip"),
        ("/label", {"label": "dog"}, {}, 422, "body.clip"),
        ("/label", {"clip": 0, "label": "x" * 30_000}, {}, 413, "0.02 MB"),
        ("/skip", {"clip": -1}, {}, 422, "no clip -1"),
        ("/next", {}, {"Host": "evil.example"}, 421, "not called 'evil.example'"),
        ("/label", {"clip": 0, "label": "dog"}, {"Origin": "http://evil.example"}, 403, "other sites"),
    ],
)
def test_what_cannot_be_answered_is_one_line(labelling, path, facts, headers, status, says):
    found, told = labelling.ask(path, json.dumps({"tab": "a", **facts}), **JSON, **headers)
    assert (found, says in told["error"]) == (status, True)
    assert "\n" not in told["error"]
    assert "/tmp" not in told["error"]


@pytest.fixture(scope="module")
def labelling(unlabelled, tmp_path_factory):
    place = tmp_path_factory.mktemp("labelling") / "labels.csv"
    with served(unlabelled, "-o", place, "--classes", "high,low,middle", command="label") as server:
        server.place = place
        yield server


def test_a_token_is_needed_elsewhere(unlabelled, tmp_path):
    with served(unlabelled, "-o", tmp_path / "l.csv", "--host", "127.0.0.2", command="label") as server:
        token = server.line.partition("#token=")[2].split()[0]
        assert post(server, "/next")[0] == 401
        assert server.ask("/next", '{"tab": "a"}', **JSON, Authorization=f"Bearer {token}")[0] == 200


def refused(capsys, *words):
    assert main(["label", *map(str, words), "--port", "0"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def test_what_cannot_be_labelled_is_one_line(unlabelled, tmp_path, capsys):
    silent = make_store(tmp_path / "silent.h5", replace(make_dataset(), root=str(tmp_path / "gone")))
    assert "no audio of" in refused(capsys, silent, "-o", tmp_path / "l.csv")
    assert "--root" in refused(capsys, silent, "-o", tmp_path / "l.csv", "--root", tmp_path)
    copy = tmp_path / "copy.h5"
    copy.write_bytes(Path(unlabelled).read_bytes())
    assert "is what is read" in refused(capsys, unlabelled, "-o", unlabelled)
    assert "another kind" in refused(capsys, unlabelled, "-o", copy)
    assert "names 'dog' twice" in refused(capsys, unlabelled, "-o", tmp_path / "l.csv", "--classes", "dog,dog")
    assert "strategy" in refused(capsys, unlabelled, "-o", tmp_path / "l.csv", "--strategy", "best")
    assert "no.h5" in refused(capsys, tmp_path / "no.h5", "-o", tmp_path / "l.csv")
    assert "kept in a file" in refused(capsys, unlabelled, "-o", "/dev/null")
    assert "is a folder" in refused(capsys, unlabelled, "-o", tmp_path)
    assert not (tmp_path / "l.csv").exists()


@pytest.mark.browser
def test_clips_are_labelled_by_keys_on_the_page(labelling, truth, tmp_path_factory):
    """Twenty-one clips by a key each, a new class by typing, one skipped, one undone; the curve and the CSV show it."""
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    with chromium(tmp_path_factory.mktemp("profile"), "--autoplay-policy=no-user-gesture-required") as driver:

        def until(condition):
            return WebDriverWait(driver, 120).until(lambda one: one.execute_script(f"return {condition}"))

        def shown(name):
            return driver.execute_script("return document.documentElement.dataset[arguments[0]]", name)

        def press(keys):
            driver.switch_to.active_element.send_keys(keys)

        driver.get(f"http://{labelling.host}:{labelling.port}/")
        until("document.documentElement.dataset.ready === 'yes'")
        n_before = len(rows(labelling.place)) if labelling.place.exists() else 0
        for n in range(1, 22):
            clip = shown("clip")
            until("document.querySelector('#sound audio')")
            press(str(1 + ["high", "low", "middle"].index(truth[int(clip)])))
            until(f"document.documentElement.dataset.labels === '{n_before + n}' && !isBusy")
        until("document.documentElement.dataset.learned === 'true'")
        assert int(shown("points")) >= 1
        assert driver.execute_script("return document.querySelectorAll('#curve circle').length") >= 1
        assert "drawn at random, groups held out" in driver.find_element("id", "told").text
        first = shown("clip")
        press("s")
        until(f"document.documentElement.dataset.clip !== '{first}' && !isBusy")
        press("n")
        press("<b>new" + Keys.ENTER)
        until(f"document.documentElement.dataset.labels === '{n_before + 22}' && !isBusy")
        assert rows(labelling.place)[-1]["label"] == "<b>new"
        assert driver.execute_script("return document.querySelectorAll('#classes b').length") == 0
        press("u")
        until(f"document.documentElement.dataset.labels === '{n_before + 21}' && !isBusy")
        written = rows(labelling.place)
        assert [row["label"] for row in written] == [Path(row["path"]).parent.name for row in written]
        size = {"width": 320, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 320
        heights = "return [...document.querySelectorAll('.act')].filter(b => b.offsetParent).map(b => b.offsetHeight)"
        assert min(driver.execute_script(heights)) >= 44
        told = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        asked = {one["params"]["request"]["url"] for one in told if one["method"] == "Network.requestWillBeSent"}
        own = f"http://{labelling.host}:{labelling.port}/"
        assert {url for url in asked if not url.startswith((own, "blob:", "data:", "chrome"))} == set()
        assert driver.get_log("browser") == []
