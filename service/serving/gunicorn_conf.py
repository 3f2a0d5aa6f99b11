"""How gunicorn serves the service, on Cloud Run and on a developer's machine.

gunicorn --config python:service.serving.gunicorn_conf

https://docs.gunicorn.org/en/stable/settings.html
"""

import gc
import os
import sys

from service.config import ConfigError, settings_from
from service.serving.worker import JsonLogger, Worker

try:
    _settings = settings_from(os.environ)
except ConfigError as error:
    sys.exit(f"The service cannot start: {error}")  # the revision fails here, not its first customer

wsgi_app = "service.app:create_app()"
bind = f"0.0.0.0:{_settings.port}"
workers = 1  # Cloud Run adds instances, and one process shares calls best
worker_connections = 1000  # pushes at a time; Cloud Run's own limit for an instance
timeout = 0  # an idle instance has no CPU and misses heartbeats: https://cloud.google.com/run/docs/tips/python
graceful_timeout = 8  # below the 10 s between SIGTERM and SIGKILL
keepalive = 75
control_socket_disable = True

# No header of a peer changes how a request is read, whoever sends it: neither its scheme nor its path. With nothing to
# trust anybody with, the peer's address need not be looked up for each push.
forwarded_allow_ips = "*"
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}


logger_class = JsonLogger
worker_class = Worker  # gevent's, measured against gthread: docs/decisions.md


def post_worker_init(_worker: object) -> None:
    """Leave what is loaded by now out of every garbage collection to come: it stays as long as the process.

    And collect less often: with a hundred pushes waiting, there is always more alive than the usual 700 objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
