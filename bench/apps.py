"""What the service is measured against: the same server, the same pushes, other ways to answer them."""

import os
from collections.abc import Sequence

import requests
import segment.analytics.request
from flask import Flask, Response, request

from bench.floor import floor
from service.app import create_app
from service.commercetools import read_customer, read_notification
from service.config import settings_from
from service.integration import integration_by
from service.pubsub.envelope import open_envelope
from service.segment.types import SegmentEvent, SegmentIntegrationResult
from service.transformation import transform_customer_to_segment


def decode_only() -> Flask:
    """The push read, validated and transformed; nothing sent, nothing logged."""
    app = floor()

    def receive() -> Response:
        message = open_envelope(request.get_data(cache=False), request.headers)
        notification = read_notification(message.data)
        transform_customer_to_segment(read_customer(notification.included or {}), project_key=notification.project_key)
        return Response(status=204)

    app.view_functions["receive"] = receive
    return app


def one_call_each() -> Flask:
    """What everyone else does: the official client in sync mode, a call for each message; else the same app."""
    settings = settings_from(os.environ)
    segment.analytics.request._session = requests.Session()  # noqa: SLF001  # the one that it comes with, not ours
    client = segment.analytics.Client(
        settings.segment.write_key, host=settings.segment.host, sync_mode=True, timeout=10, max_retries=0
    )

    def send(events: Sequence[SegmentEvent], _deadline: float) -> SegmentIntegrationResult:
        for event in events:
            client.identify(**event.payload)
        return SegmentIntegrationResult()

    return create_app(settings, integration_by(settings, send=send))
