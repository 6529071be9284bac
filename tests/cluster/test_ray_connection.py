"""A head that is not there is said in one line and in bounded time, where Ray would wait for minutes."""

import contextlib
import socket
import threading
import time

import pytest

from embedx.errors import RunnerError
from embedx.extract import ray_connection
from embedx.extract.options import ClusterOptions
from embedx.extract.ray_backend import run_units_on_ray

pytestmark = pytest.mark.ray


@contextlib.contextmanager
def listening(answer=None):
    """A port of loopback that takes connections, and says ``answer`` (None: nothing) to each."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.ExitStack() as clients, contextlib.suppress(OSError):
                while True:
                    client = clients.enter_context(server.accept()[0])
                    if answer is not None:
                        client.recv(100)
                        client.sendall(answer)
                        client.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def free_address():
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def refusal(runners, address):
    """The error of joining, and the seconds that it took."""
    started = time.monotonic()
    with pytest.raises(RunnerError, match=r"^no Ray cluster at .*Start one with 'ray start --head'") as caught:
        list(run_units_on_ray(runners.make_units(1), runners.FakeRunner(), options=ClusterOptions(address=address)))
    assert "\n" not in str(caught.value)
    return str(caught.value), time.monotonic() - started


@pytest.fixture(autouse=True)
def imported(ray_home):
    """Importing ray is no part of the time."""
    pytest.importorskip("ray", reason="needs embedx[ray]")


def test_where_nobody_listens(runners):
    address = free_address()
    message, seconds = refusal(runners, address)
    assert f"{address} does not answer (Connection refused)" in message
    assert seconds < 10


def test_where_somebody_listens_and_says_nothing(runners, monkeypatch):
    monkeypatch.setattr(ray_connection, "ANSWER_SECONDS", 0.5)
    with listening() as address:
        message, seconds = refusal(runners, address)
    assert "does not answer (timed out)" in message
    assert seconds < 10


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_where_something_else_listens(runners, answer):
    with listening(answer) as address:
        message, seconds = refusal(runners, address)
    assert "answers, but not as a Ray head does" in message
    assert seconds < 10


def test_auto_names_the_head_that_is_gone(runners, ray_home, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address := free_address())
    message, seconds = refusal(runners, "auto")
    assert f"{address} does not answer" in message
    assert seconds < 10


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:head"])
def test_what_is_no_address(runners, address):
    assert repr(address) in refusal(runners, address)[0]


def test_on_the_command_line_it_is_one_line(tone_folder, run_embedx, tmp_path, ray_home):
    words = ["extract", tone_folder, "-o", tmp_path / "emb.h5", "--encoder", "tiny", "--engine", "ray"]
    done = run_embedx(*words, "--address", free_address(), timeout=100)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "does not answer" in line
