"""What differs where gevent's greenlets stand in for threads, as under the service's gunicorn worker."""

import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


def instead_of_threads() -> bool:
    """Whether this process runs on greenlets. Nothing of gevent is imported to find out."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_module_patched("threading")


def let_others_run(seconds: float) -> None:
    """Return when no other greenlet is ready to run, or after so many seconds. Threads run without being let."""
    if instead_of_threads():
        import gevent  # noqa: PLC0415  # it is imported already

        with gevent.Timeout(seconds, False):  # type: ignore[arg-type]  # noqa: FBT003  # gevent's own way to say: raise nothing
            gevent.idle()


def can_be_read(sock: "socket.socket") -> bool:
    """Whether the socket has something to read, or its end, now. Lets no other greenlet run, as gevent's poll would."""
    import gevent.monkey  # noqa: PLC0415  # only a process that runs on greenlets needs it

    poll = gevent.monkey.get_original("select", "poll")()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
