# The service and the operator's command. docs/configuration.md says how to configure them, docs/deploy.md how to deploy them.
#
# 109 MiB on top of the base, 2026-11-27. 29 of them are google-cloud-pubsub and what only it needs (gRPC: 18), for one
# reason: an unreadable message is published to the dead-letter topic. They are imported for the first one.
# 15 are cryptography, with which google-auth verifies the token of a push. 25 are the command's: typer, rich and more.

# First the packages, which change rarely: pinned by hash, wheels only (so that no build script runs), compiled.
FROM python:3.13-slim AS packages
COPY requirements.txt /
# A third of gevent is its tests.
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python --disable-pip-version-check install --no-cache-dir --require-hashes --only-binary :all: \
      --requirement /requirements.txt \
 && rm -r /venv/lib/python3.13/site-packages/gevent/tests

# Then the code, compiled too.
FROM packages AS code
COPY service /app/service
RUN /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /app/service \
 && mkdir /app/bin \
 && printf '#!/bin/sh\nexec python -m service.cli "$@"\n' > /app/bin/commercetools-segment \
 && chmod +x /app/bin/commercetools-segment

FROM python:3.13-slim
COPY --from=packages /venv /venv
COPY --from=code /app /app
ENV PATH=/app/bin:/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1
WORKDIR /app
USER 65532:65532
EXPOSE 8080
# In the exec form gunicorn is the first process, so that Cloud Run's TERM reaches it.
CMD ["python", "-m", "gunicorn", "--config", "python:service.serving.gunicorn_conf"]
