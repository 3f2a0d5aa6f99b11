"""On greenlets, a call waits until all ready greenlets have submitted their items, and then for no other."""

import os
import subprocess
import sys
from pathlib import Path

from service.serving import greenlets

SCRIPT = """
from gevent import monkey; monkey.patch_all()
import time
import gevent
import gevent.event
from service.delivery.group_commit import GroupCommit

batches = []

def call(items):
    batches.append(list(items))
    return items

group = GroupCommit(call, max_items=100, slots=1, call_seconds=1)

def hand_in(item):
    return group.submit(item, deadline=time.monotonic() + 20)
"""


def run(then: str) -> None:
    root = Path(__file__).parents[1]
    subprocess.run(  # noqa: S603  # our own script
        [sys.executable, "-W", "error", "-c", SCRIPT + then],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
        timeout=60,
    )


def test_those_who_are_ready_at_the_same_moment_share_the_first_call() -> None:
    run("""
gevent.joinall([gevent.spawn(hand_in, number) for number in range(10)], raise_error=True)
assert batches == [list(range(10))], batches
""")


def test_a_well_filled_call_leaves_though_others_are_ready() -> None:
    run("""
group = GroupCommit(call, max_items=100, slots=1, call_seconds=1, well_filled=4)
callers = [gevent.spawn(hand_in, number) for number in range(10)]
gevent.joinall(callers, raise_error=True)
assert [caller.value for caller in callers] == list(range(10))
assert batches == [[3, 0, 1, 2], [7, 4, 5, 6], [8, 9]], batches
""")


def test_the_next_call_fills_while_a_well_filled_one_is_away() -> None:
    run("""
away = gevent.event.Event()
def call(items):
    batches.append(list(items))
    assert away.wait(10)
    return items
group = GroupCommit(call, max_items=100, slots=2, call_seconds=1, well_filled=4)
callers = [gevent.spawn(hand_in, number) for number in range(10)]
gevent.idle()
assert batches == [[3, 0, 1, 2], [7, 4, 5, 6]], batches
away.set()
gevent.joinall(callers, raise_error=True)
assert batches[2:] == [[8, 9]], batches
""")


def test_a_leader_that_is_killed_after_another_took_its_place_leaves_no_caller_waiting() -> None:
    run("""
group = GroupCommit(call, max_items=1, slots=1, call_seconds=1, well_filled=3)
callers = [gevent.spawn(hand_in, number) for number in range(3)]
gevent.spawn(callers[0].kill, block=False)
gevent.joinall(callers[1:], timeout=10, raise_error=True)
assert [caller.value for caller in callers[1:]] == [1, 2]
assert hand_in("last") == "last"
assert batches[-1] == ["last"] and [0] not in batches, batches
""")


def test_a_process_that_never_rests_holds_no_call_up() -> None:
    run("""
def restless():
    while True:
        gevent.sleep(0)

restless = gevent.spawn(restless)
assert hand_in("a") == "a"
assert not restless.dead
assert batches == [["a"]], batches
""")


def test_a_leader_that_is_killed_while_it_lets_others_in_leaves_the_call_to_them() -> None:
    run("""
first = gevent.spawn(hand_in, "first")
second = gevent.spawn(hand_in, "second")
killer = gevent.spawn(first.kill, block=False)
assert second.get(timeout=10) == "second"
assert batches == [["second"]], batches
assert hand_in("third") == "third"
""")


def test_a_look_at_a_kept_alive_connection_lets_no_other_greenlet_run() -> None:
    run("""
import requests
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from service.serving.upstream import session

class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
server.daemon_threads = True
gevent.spawn(server.serve_forever)
url = f"http://127.0.0.1:{server.server_port}/"
http = session()
assert http.get(url).status_code == 204
pools = http.get_adapter(url).poolmanager.pools
[pool] = [pools[key] for key in pools.keys()]

others = []
gevent.spawn(others.append, "ran")
connection = pool._get_conn()
assert connection.is_connected
assert others == []

gevent.idle()
connection.sock._sock.shutdown(2)
assert not connection.is_connected
""")


def test_threads_need_not_be_let() -> None:
    assert not greenlets.instead_of_threads()
    greenlets.let_others_run(1000)
