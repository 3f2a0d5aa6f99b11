"""Reserved ports for servers: a port that was free a moment ago may be used by another process now."""

import socket
import sys
from types import TracebackType
from typing import Self


class ReservedPort:
    """A port on loopback that the kernel gives to no other process while this is open.

    Its socket is bound and never listens. A server that sets SO_REUSEADDR, as gunicorn and Python's create_server do,
    can listen on the port, stop and listen again; while none listens, connections are refused. If it is `shared`,
    several servers that set SO_REUSEPORT can listen at the same time, and each gets a part of the connections.
    With 0 the kernel chooses the `number`. Raises OSError if another process has it.

    Only Linux lets a server listen beside the bound socket: https://man7.org/linux/man-pages/man7/socket.7.html.
    Elsewhere the port is not `held`: it was free when this was made.
    """

    def __init__(self, number: int = 0, *, shared: bool = False, held: bool = sys.platform == "linux") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            self._socket.bind(("127.0.0.1", number))
        except OSError:
            self._socket.close()
            raise
        self.number = int(self._socket.getsockname()[1])
        if not (held or shared):
            self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
