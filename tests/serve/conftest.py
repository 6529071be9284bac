"""A model of tones, and a real server of it on loopback."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from embedx import Manifest, extract_embeddings, fit_model, load_embeddings, read_manifest


@pytest.fixture(scope="session")
def model_folder(tone_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    extract_embeddings(read_manifest(tone_folder), folder / "emb.h5", encoder="tiny")
    return fit_model(load_embeddings(folder / "emb.h5"), "logreg").save(folder / "model")


@pytest.fixture(scope="session")
def tones(tone_folder):
    """Paths of recordings, by class."""
    return {place.name: sorted(place.iterdir()) for place in sorted(tone_folder.iterdir()) if place.is_dir()}


class Server:
    """``embedx serve`` or ``embedx label`` in a process of its own, and the way to ask it."""

    def __init__(self, process):
        self.process, self.line = process, process.stdout.readline()
        assert self.line, process.communicate()
        self.host, self.port = re.search(r"http://([\d.]+):(\d+)/", self.line).groups()

    def ask(self, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.host, int(self.port), timeout=60)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET" if body is None else "POST", path, body, named)
            answer = connection.getresponse()
            text = answer.read()
            kind = answer.headers.get_content_type()
            told = (
                json.loads(text) if kind == "application/json" else text if kind.startswith("audio") else text.decode()
            )
            return answer.status, told

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.communicate(timeout=60), self.process.returncode


@contextlib.contextmanager
def served(folder, *options, command="serve", **environment):
    command = [sys.executable, "-m", "embedx", command, str(folder), "--port", "0", *map(str, options)]
    scratch = folder.parent / "scratch"  # what a kill leaves is the test's own
    scratch.mkdir(exist_ok=True)
    environment.setdefault("env", {**os.environ, "TMPDIR": str(scratch)})
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **environment)
    try:
        yield Server(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def unlabelled(tone_folder, tmp_path_factory):
    """A store of the tones without labels."""
    folder = tmp_path_factory.mktemp("unlabelled")
    paths = sorted(path.relative_to(tone_folder) for path in tone_folder.rglob("*.wav"))
    extract_embeddings(Manifest.from_paths(paths, root=tone_folder), folder / "emb.h5", encoder="tiny")
    return folder / "emb.h5"


@pytest.fixture(scope="session")
def server(model_folder):
    with served(model_folder, "--store", str(model_folder.parent / "emb.h5")) as one:
        yield one
