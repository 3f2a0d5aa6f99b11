"""What is different if gevent's greenlets replace threads, as in the service's gunicorn worker."""

import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


def instead_of_threads() -> bool:
    """Return whether this process runs on greenlets. This imports nothing of gevent."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_module_patched("threading")


def let_others_run(seconds: float) -> None:
    """Return when no other greenlet is ready to run, or after so many seconds. With threads, return at once."""
    if instead_of_threads():
        import gevent  # noqa: PLC0415  # it is imported already

        with gevent.Timeout(seconds, False):  # type: ignore[arg-type]  # noqa: FBT003  # gevent's way to say that it raises nothing
            gevent.idle()


def can_be_read(sock: "socket.socket") -> bool:
    """Return whether the socket has data or its end now. Unlike gevent's poll, this lets no other greenlet run."""
    import gevent.monkey  # noqa: PLC0415  # only a process that runs on greenlets needs it

    poll = gevent.monkey.get_original("select", "poll")()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
