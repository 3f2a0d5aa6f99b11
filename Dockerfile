# The service and the operator's command. docs/configuration.md says how to configure them, docs/deploy.md how to deploy them.
#
# 99 MiB on top of the base, 2026-11-27. 29 of them are google-cloud-pubsub and what only it needs (gRPC: 18), for one
# reason: an unreadable message is published to the dead-letter topic. They are imported for the first one.
# 15 are cryptography, with which google-auth verifies the token of a push. 17 are the command's: typer, rich and more.
#
# scripts/pin-images writes the digests of the base images.

# First the packages, which change rarely: pinned by hash, wheels only (so that no build script runs), compiled.
FROM python:3.13-slim AS packages
COPY requirements.txt /
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python --disable-pip-version-check install --no-cache-dir --require-hashes --only-binary :all: \
      --requirement /requirements.txt
# Nothing imports the tests of packages, and nothing compiles against their C sources. rich imports pygments to colour code,
# in any language; the command shows none, and needs the plain and the Python lexer.
WORKDIR /venv/lib/python3.13/site-packages
RUN rm -r certifi/tests gevent/testing gevent/tests greenlet/tests segment/analytics/test zope/interface/common/tests \
      zope/interface/tests \
 && find pygments/lexers -name '*.py*' ! -name '__init__.*' ! -name '_mapping.*' ! -name 'python.*' ! -name 'special.*' -delete \
 && find . '(' -name '*.c' -o -name '*.h' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.pyx' ')' -delete

# Then the code, compiled too, and the list of what is in the image. The last line needs all that was left in.
FROM packages AS code
COPY service /app/service
COPY scripts/sbom /
RUN /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /app/service \
 && /venv/bin/python /sbom > /app/sbom.cdx.json \
 && mkdir /app/bin \
 && printf '#!/bin/sh\nexec python -m service.cli "$@"\n' > /app/bin/commercetools-segment \
 && chmod +x /app/bin/commercetools-segment \
 && /venv/bin/python -c 'import gevent.monkey, google.cloud.pubsub_v1, rich.markdown, rich.syntax, rich.traceback, segment.analytics' \
 && PYTHONPATH=/app /venv/bin/python -m service.cli explain --help > /dev/null

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
