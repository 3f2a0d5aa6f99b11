"""The order of the tests: those that take longest begin first, each on a process of its own."""

import gc
import os

import pytest


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
