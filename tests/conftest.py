"""What holds for all tests: how much hypothesis tries, and that those that take longest begin first."""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

for name, examples in {"short": 25, "thorough": 500}.items():  # make test, and make test-long
    # No deadline: a busy machine is no failure.
    settings.register_profile(name, max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("short")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the lengthy tests at the beginning of the parts that xdist gives to its workers, one after another.

    If one of them began last, the other processes would wait for it. pytest-randomly has shuffled all before.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    lengthy = [item for item in items if item.get_closest_marker("lengthy")]
    others = [item for item in items if not item.get_closest_marker("lengthy")]
    share = -(-len(others) // workers)
    items[:] = [
        item
        for worker in range(workers)
        for item in (*lengthy[worker::workers], *others[worker * share : (worker + 1) * share])
    ]


def pytest_collection_finish() -> None:
    """Let the garbage collector pass by what the collection of thousands of tests has made: it stays to the end."""
    gc.collect()
    gc.freeze()
