"""Processes of commercetools-segment that need not import anything: forked from one that has imported it all.

python -W error -m tests.operations.forkserver FD

Serves requests on the socket FD, also several at once. A request is one JSON message (arguments, environment, folder,
umask) with four file descriptors (stdin, stdout, stderr, and a pipe for the answer); the answer is a line with the
process's id, and at its end one with its exit code. The process that forks has one thread, runs no command itself, and
makes no gRPC channel.
"""

import contextlib
import gc
import io
import json
import os
import signal
import socket
import sys
import time
from typing import Any

_LONGEST_REQUEST = 1024 * 1024


def preload() -> None:
    """Import what the commands import when they run."""
    # ruff: noqa: PLC0415  # here, so that a test that uses the client imports none of it
    import google.auth.transport.requests
    import google.cloud.pubsub_v1
    import google.oauth2.service_account

    import service.operations.backfill
    import service.operations.check
    import service.operations.cloud_logging
    import service.operations.dead_letters
    import service.operations.deployed
    import service.operations.explain
    import service.operations.history
    import service.operations.subscription
    from service.cli import app

    with contextlib.redirect_stdout(io.StringIO()):
        app(["explain", "--help"], standalone_mode=False)  # typer imports pydantic and rich when it parses and prints
    del google, service


def serve(server: socket.socket) -> dict[str, Any] | None:
    """Fork a child for each request, and one that waits for it. Return None at the end, and in a child its request."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    while True:
        message, descriptors, _, _ = socket.recv_fds(server, _LONGEST_REQUEST, 4)
        if not message:
            return None
        if os.fork() == 0:
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            *files, answer = descriptors
            child = os.fork()
            if child == 0:
                os.close(answer)
                for number, descriptor in enumerate(files):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                request: dict[str, Any] = json.loads(message)
                return request
            for descriptor in files:
                os.close(descriptor)
            os.write(answer, b"%d\n" % child)
            _, status = os.waitpid(child, 0)
            os.write(answer, b"%d\n" % os.waitstatus_to_exitcode(status))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def become(request: dict[str, Any]) -> None:
    """Apply the request to this process: its arguments, environment, folder and files."""
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    os.umask(request["umask"])
    sys.argv[1:] = request["arguments"]
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding=encoding)
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding=encoding)
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


if __name__ == "__main__":
    preload()
    gc.collect()
    gc.freeze()  # a child's collections would copy every page that it shares with this process
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        asked = serve(requests)
    if asked is not None:
        become(asked)
        from service.cli import main

        main()
