"""How gunicorn serves the service, on Cloud Run and on a developer's machine.

gunicorn --config python:service.serving.gunicorn_conf

https://docs.gunicorn.org/en/stable/settings.html

gevent replaces ssl and sockets in the worker, after this file. What is imported here must not have taken hold of them:
urllib3, imported here, would make every HTTPS call fail (https://github.com/gevent/gevent/issues/1016). gevent warns of
it, and then the worker does not start.
"""

import gc
import os
import sys
import warnings

from gevent.monkey import MonkeyPatchWarning

from service.config import ConfigError, settings_from
from service.serving.worker import JsonLogger, Worker
from service.transformation.rules import identify_rules_by, shop_mapping

warnings.simplefilter("error", MonkeyPatchWarning)

try:
    _settings = settings_from(os.environ, shop_mapping)
    identify_rules_by(_settings)
except ConfigError as error:  # so the revision fails to start, instead of failing at its first message
    between = "\n" if "\n" in str(error) else " "  # several settings, or mistakes of a mapping file, have a line each
    print(f"The service cannot start:{between}{error}", file=sys.stderr)  # noqa: T201  # there is no logger yet
    sys.exit(2)

wsgi_app = "service.app:create_app()"
bind = f"0.0.0.0:{_settings.port}"
workers = 1  # Cloud Run adds instances; callers share calls within one process
worker_connections = 1000  # concurrent pushes: Cloud Run's limit for an instance
timeout = 0  # an idle instance has no CPU and misses heartbeats: https://cloud.google.com/run/docs/tips/python
graceful_timeout = 8  # below the 10 s between SIGTERM and SIGKILL
keepalive = 75
control_socket_disable = True

# No header changes the scheme or the path of a request, whoever sends it. So gunicorn need not check the address of the
# sender for each push.
forwarded_allow_ips = "*"
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}


logger_class = JsonLogger
worker_class = Worker  # gevent's, measured against gthread: docs/decisions.md


def post_worker_init(_worker: object) -> None:
    """Exclude what is loaded so far from garbage collection: it lives as long as the process.

    Also collect less often: a hundred waiting pushes always have more than the default of 700 objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
