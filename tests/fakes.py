"""The one fake: a Segment client that records."""

from collections.abc import Sequence
from typing import Any

from service.integration import send_customer_to_segment_with_client
from service.kinds import Send
from service.segment.types import SegmentEvent, SegmentIntegrationResult


class RecordingClient:
    """Records what it is told, in order, wherever a Segment client is taken. Raises `error` at each identify if set.

    `calls` has the name and the arguments of every call; `sent` the payloads of those identifies that were confirmed.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.sent: list[dict[str, Any]] = []

    def identify(self, *positional: Any, **payload: Any) -> None:  # noqa: ANN401  # whatever a caller says is recorded
        if positional:
            raise TypeError("identify is called with the payload's own names: identify(**payload)")
        self.calls.append(("identify", payload))
        if self.error is not None:
            raise self.error
        self.sent.append(payload)

    def flush(self) -> None:
        self.calls.append(("flush", {}))


def recording_send(client: RecordingClient) -> Send:
    """Return a send, as an Integration takes it, that goes to this client. It knows identifies alone."""

    def send(events: Sequence[SegmentEvent], _deadline: float) -> SegmentIntegrationResult:
        [(call, payload)] = events
        assert call == "identify"
        return send_customer_to_segment_with_client(client, payload)  # type: ignore[arg-type]  # an identify's

    return send
