"""Only its own server gets a reserved port."""

import socket
import sys

import pytest

from playground.ports import ReservedPort

HOST = "127.0.0.1"


def test_connections_are_refused_before_a_server_listens_and_after_it_has_ended() -> None:
    with ReservedPort() as port:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((HOST, port.number))
            with (
                socket.create_server((HOST, port.number)) as server,
                socket.create_connection((HOST, port.number)),
            ):
                server.accept()[0].close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a server listen beside the bound socket")
def test_no_other_socket_gets_it() -> None:
    with ReservedPort() as port, socket.socket() as another, pytest.raises(OSError, match="in use"):
        another.bind((HOST, port.number))


def test_it_is_free_when_it_is_closed() -> None:
    with ReservedPort() as port:
        pass

    with socket.socket() as another:
        another.bind((HOST, port.number))


def test_where_it_cannot_be_held_a_server_still_gets_it() -> None:
    with ReservedPort(held=False) as port, socket.create_server((HOST, port.number)):
        socket.create_connection((HOST, port.number)).close()


def test_a_chosen_port_that_is_in_use_is_refused() -> None:
    with socket.create_server((HOST, 0)) as server, pytest.raises(OSError, match="in use"):
        ReservedPort(server.getsockname()[1])
