"""How the service is served, on Cloud Run as on a developer's machine: gunicorn --config python:service.gunicorn_conf.

https://docs.gunicorn.org/en/stable/settings.html
"""

import os
import sys

from service.config import ConfigError, settings_from

try:
    _settings = settings_from(os.environ)
except ConfigError as error:
    sys.exit(f"The service cannot start: {error}")  # the revision fails here, not its first customer

wsgi_app = "service.app:create_app()"
bind = f"0.0.0.0:{_settings.port}"
workers = 1  # Cloud Run adds instances, and one process shares calls best
worker_class = "gevent"  # measured against gthread: docs/decisions.md
worker_connections = 1000  # pushes at a time; Cloud Run's own limit for an instance
timeout = (
    0  # an idle instance has no CPU, so a heartbeat would be missed: https://cloud.google.com/run/docs/tips/python
)
graceful_timeout = 8  # below the 10 s between SIGTERM and SIGKILL
keepalive = 75
control_socket_disable = True
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "service.logs.JsonFormatter"}},
    "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}},
    "loggers": {"gunicorn.error": {"handlers": ["stdout"], "level": "INFO", "propagate": False}},
    "root": {"handlers": [], "level": "WARNING"},
}
