"""The service by HTTP: the model's own answers, one line for whatever cannot be answered, and a quiet end."""

import concurrent.futures
import io
import json
import os
import signal
import socket

import numpy as np
import pytest

from embedx import Model, extract_embeddings, read_manifest
from embedx.audio.decode import decode
from embedx.audio.headers import read_duration
from embedx.cli import main
from embedx.testing import write_wav
from tests.serve.conftest import served

FORM = "multipart/form-data; boundary=x"


def in_form(content, name="file"):
    return (
        f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a.wav"\r\n\r\n'.encode()
        + content
        + b"\r\n--x--\r\n"
    )


def test_a_recording_gets_what_the_model_says(server, model_folder, tones):
    model = Model.load(model_folder)
    for label, paths in tones.items():
        content = paths[0].read_bytes()
        status, told = server.ask("/predict", content, Content_Type="audio/wav")
        assert status == 200
        assert told["label"] == label
        expected = dict(zip(model.classes, model.predict_proba([paths[0]])[0], strict=True))
        assert told["probabilities"] == pytest.approx(expected, abs=1e-5)
        assert told["seconds"] == pytest.approx(read_duration(paths[0]), abs=0.01)
        assert list(told["probabilities"].values()) == sorted(told["probabilities"].values(), reverse=True)
        assert server.ask("/predict", in_form(content), Content_Type=FORM) == (200, told)


def test_an_embedding_is_the_models_own(server, model_folder, tones):
    path = next(iter(tones.values()))[0]
    status, told = server.ask("/embed", path.read_bytes())
    dataset = Model.load(model_folder).embed([path])
    assert status == 200
    assert told["layers"] == list(dataset.layers)
    # in bfloat16, another number of threads adds up in another order
    assert np.allclose(np.ravel(told["embedding"]), np.asarray(dataset.X)[0], atol=2e-2)


def test_a_time_line_is_the_models_own(server, model_folder, tones, tmp_path):
    parts = [decode(paths[0]) for paths in tones.values()]
    write_wav(tmp_path / "all.wav", np.concatenate([np.resize(part, 48_000) for part in parts]))
    line = Model.load(model_folder).timeline(tmp_path / "all.wav")
    status, told = server.ask("/timeline", (tmp_path / "all.wav").read_bytes())
    assert status == 200
    assert [one["label"] for one in told["segments"]] == [one.label for one in line.segments]
    assert told["segments"][0]["onset_seconds"] == pytest.approx(line.segments[0].onset_seconds, abs=1e-3)
    assert np.allclose(told["windows"]["probabilities"], line.proba, atol=2e-3)
    assert told["seconds"] == pytest.approx(line.seconds, abs=0.01)
    assert server.ask("/timeline", b"no audio at all")[0] == 422


def test_one_upload_is_labelled_compared_and_drawn(server, model_folder, tones, tmp_path):
    parts = [decode(paths[0]) for paths in tones.values()]
    write_wav(tmp_path / "all.wav", np.concatenate([np.resize(part, 32_000) for part in parts]))
    content = (tmp_path / "all.wav").read_bytes()
    status, text = server.ask("/listen", content)
    first, second = map(json.loads, text.splitlines())
    assert status == 200
    assert first == {**server.ask("/search", content)[1], **server.ask("/predict", content)[1]}
    assert second == server.ask("/timeline", content)[1]
    assert server.ask("/listen", b"no audio at all")[0] == 422
    assert not list((model_folder.parent / "scratch").rglob("*.upload"))


def test_the_nearest_clips_are_those_of_the_class_and_can_be_played(server, tones):
    for label, paths in tones.items():
        status, told = server.ask("/search", paths[0].read_bytes())
        assert status == 200
        nearest = told["nearest"]
        assert nearest[0]["name"] == paths[0].name
        assert nearest[0]["similarity"] == pytest.approx(1.0, abs=0.01)
        assert {one["label"] for one in nearest} == {label}
        status, sound = server.ask(f"/clips/{nearest[0]['clip']}")
        assert (status, sound[:4]) == (200, b"OggS")
    for clip in (-1, 10_000):
        assert server.ask(f"/clips/{clip}")[0] == 404
    assert server.ask("/clips/..%2F..%2Fetc")[0] in (404, 422)


def test_a_store_of_another_recipe_is_one_line(model_folder, tone_folder, tmp_path, run_embedx):
    extract_embeddings(read_manifest(tone_folder), tmp_path / "other.h5", encoder="tiny", pooling="max")
    done = run_embedx("serve", model_folder, "--store", tmp_path / "other.h5", "--port", "0")
    assert done.returncode == 2
    assert "pooling" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_many_at_once_get_their_own_answers(server, tones):
    asked = [(label, path) for label, paths in tones.items() for path in paths[:6]]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        told = list(pool.map(lambda pair: server.ask("/predict", pair[1].read_bytes()), asked))
    assert [(status, answer["label"]) for status, answer in told] == [(200, label) for label, _ in asked]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "says"),
    [
        ("/predict", b"", {}, 422, "the body is empty"),
        ("/predict", b"no audio at all", {}, 422, "the recording"),
        ("/predict", b"RIFF\xff\xff\xff\x7fWAVEfmt ", {}, 422, "the recording"),
        ("/embed", os.urandom(5000), {}, 422, "the recording"),
        ("/predict", b"{}", {"Content_Type": "application/json"}, 415, "content type 'application/json'"),
        ("/predict", b"hello", {"Content_Type": "text/plain"}, 415, "send audio/*"),
        ("/predict", in_form(b"x", "other").replace(b' filename="a.wav"', b""), {"Content_Type": FORM}, 422, "no file"),
        ("/predict", b"--x\r\nbroken", {"Content_Type": FORM}, 4, ""),
        ("/predict", None, {}, 405, "Method Not Allowed"),
        ("/nothing", None, {}, 404, "Not Found"),
        ("/../../etc/passwd", None, {}, 404, "Not Found"),
        ("/model", None, {"Host": "evil.example"}, 421, "not called 'evil.example'"),
        ("/predict", b"x", {"Origin": "http://evil.example"}, 403, "other sites"),
    ],
)
def test_what_cannot_be_answered_is_one_line(server, path, body, headers, status, says):
    found, told = server.ask(path, body, **headers)
    assert found == status or found // 100 == status
    assert says in told["error"]
    assert "\n" not in told["error"]
    assert "/tmp" not in told["error"]
    assert ".upload" not in told["error"]


def test_what_is_too_large_or_too_long_is_refused(model_folder, tmp_path):
    write_wav(tmp_path / "long.wav", np.zeros(16_000 * 8, np.float32))
    long, large = (tmp_path / "long.wav").read_bytes(), b"x" * 400_000
    with served(model_folder, "--most-mb", "0.3", "--most-seconds", "5") as server:
        assert server.ask("/predict", long) == (413, {"error": "the recording is longer than 5 s: send a part of it"})
        assert server.ask("/predict", large)[0] == 413
        chunked = server.ask("/predict", io.BytesIO(large))
        assert chunked[0] == 413
        assert "more than 0.3 MB" in chunked[1]["error"]


def test_elsewhere_a_token_is_needed(model_folder, tones):
    content = next(iter(tones.values()))[0].read_bytes()
    with served(model_folder, "--host", "127.0.0.2") as server:
        token = server.line.partition("#token=")[2].split()[0]
        assert len(token) >= 24
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": token[:-1]}):
            assert server.ask("/predict", content, **headers)[0] == 401
            assert server.ask("/model", **headers)[0] == 401
            assert server.ask("/metrics", **headers)[0] == 401
        assert server.ask("/predict", content, Authorization=f"Bearer {token}")[0] == 200
        assert server.ask("/healthz") == (200, {"status": "ok"})
        assert "tone" not in server.ask("/")[1]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told_and_leaves_nothing(model_folder, tones, tmp_path, how):
    content = next(iter(tones.values()))[0].read_bytes()
    with served(model_folder, env={**os.environ, "TMPDIR": str(tmp_path)}) as server:
        assert server.ask("/predict", content)[0] == 200
        (out, err), code = server.stop(how)
        assert (out, err, code) == ("stopped\n", "", 0)
        assert not list(tmp_path.glob("embedx-serve-*"))


def test_figures_for_prometheus_and_the_list_of_routes(server, tones):
    server.ask("/predict", next(iter(tones.values()))[0].read_bytes())
    told = server.ask("/metrics")[1]
    assert 'embedx_requests_total{path="/predict",status="200"}' in told
    assert "embedx_batch_clips_bucket" in told
    status, routes = server.ask("/openapi.json")
    assert status == 200
    assert {"/predict", "/timeline", "/embed", "/search", "/model", "/healthz", "/metrics"} <= routes["paths"].keys()
    assert "multipart/form-data" in routes["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert "POST /predict" in server.ask("/docs")[1]


def test_a_port_that_is_taken_is_one_line(model_folder, run_embedx):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run_embedx("serve", model_folder, "--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert "Address already in use. Give another --port" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_none_is_one_line(model_folder, capsys):
    assert main(["serve", str(model_folder), "--port", "99999"]) == 2  # the system would take it for 34463
    told = capsys.readouterr().err
    assert "a whole number from 0 to 65535 is needed" in told
    assert len(told.splitlines()) == 1
