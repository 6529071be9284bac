"""The guard itself: a connection that leaves this machine is refused, here and in child processes."""

import socket
import subprocess
import sys

import pytest


def test_this_process_reaches_only_loopback():
    with socket.socket() as probe, pytest.raises(OSError, match="tried to connect to"):
        probe.connect(("192.0.2.1", 80))  # TEST-NET-1, reserved for documentation


def test_child_processes_reach_only_loopback():
    code = "import socket; socket.getaddrinfo('example.invalid', 80)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "NetworkForbiddenError" in done.stderr


def test_loopback_works():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname()) as client:
            assert client.getpeername() == server.getsockname()
