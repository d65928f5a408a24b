"""The server: only this machine, only names of it, and one folder for one server."""

from __future__ import annotations

import socket

import pytest

from lvcd.app.server import is_loopback, make_server
from lvcd.errors import InputError


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_addresses_of_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_addresses_that_others_reach(host):
    assert not is_loopback(host)


def test_a_port_that_is_taken_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError) as error:
        make_server(tmp_path, "mini", port=taken.getsockname()[1])
    assert "--port" in str(error.value) and "\n" not in str(error.value)


def test_a_host_that_is_none_of_this_machine_is_one_line(tmp_path):
    with pytest.raises(InputError):
        make_server(tmp_path, "mini", host="203.0.113.7", port=0)
