"""What differs where gevent's greenlets stand in for threads, as under the service's gunicorn worker."""

import sys


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
