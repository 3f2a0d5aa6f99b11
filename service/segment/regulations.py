"""Deleting and suppressing users in Segment, many in one call, by Segment's Public API (events go to another API).

https://docs.segmentapis.com/tag/Deletion-and-Suppression#operation/createWorkspaceRegulation
"""

import json
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from http import HTTPStatus

import requests

from service.delivery.group_commit import BatchRefused, CallFailed, GroupCommit, NeverSent
from service.segment.types import SegmentError, SegmentIntegrationResult
from service.serving.causes import why
from service.serving.upstream import CALL_SECONDS, NotCalled, Pause, session, timeout

_MAX_USER_IDS = 5000
_MAX_BYTES = 3_900_000  # of 4 MB
CALLS_A_SECOND = 10.0  # 600 a minute
_SECONDS_BETWEEN_CALLS = 1 / CALLS_A_SECOND


class Regulation(StrEnum):
    """What Segment does about a user: it deletes what it has, drops all later events, both, or ends the dropping.

    Suppress for good only ids that no other person will ever have.
    """

    DELETE = "DELETE_ONLY"
    DELETE_AND_SUPPRESS = "SUPPRESS_WITH_DELETE"
    SUPPRESS = "SUPPRESS_ONLY"
    UNSUPPRESS = "UNSUPPRESS"


class Regulations:
    """Submits user ids for one regulation. Threads and greenlets may share it.

    https://www.twilio.com/docs/segment/privacy/user-deletion-and-suppression
    """

    def __init__(
        self,
        token: str,
        url: str,
        regulation: Regulation = Regulation.DELETE_AND_SUPPRESS,
        *,
        call_seconds: float = CALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._token = token
        self._type = regulation
        self._url = f"{url}/regulations"
        self._call_seconds = call_seconds
        self._clock = clock
        self._sleep = sleep
        self._session = session()
        self._pause = Pause("Segment's Public API", clock)
        self._next_call = float("-inf")
        self._user_ids: GroupCommit[str, SegmentError | None] = GroupCommit(
            self._post, max_items=_MAX_USER_IDS, max_size=_MAX_BYTES, slots=1, call_seconds=call_seconds, clock=clock
        )

    def submit(self, user_id: str, deadline: float) -> SegmentIntegrationResult:
        """Submit this user. A success means that Segment has accepted the regulation."""
        try:
            size = len(json.dumps(user_id)) + len(", ")
            return SegmentIntegrationResult(self._user_ids.submit(user_id, size=size, deadline=deadline))
        except (NeverSent, CallFailed) as unsettled:
            return SegmentIntegrationResult(SegmentError(str(unsettled)))

    @property
    def is_paused(self) -> bool:
        """Whether the Public API asked for a pause that is not over, so that no call would be made."""
        try:
            self._pause.check()
        except NotCalled:
            return True
        return False

    def post(self, user_ids: Sequence[str]) -> SegmentError | None:
        """Submit these users, at most 5,000 and 3.9 MB, in one call of their own; return None when they are accepted.

        If the error is `refused`, Segment has accepted none of them. Never raises for what Segment or the network did.
        """
        return self._outcome_of(user_ids)

    def _post(self, user_ids: Sequence[str]) -> list[SegmentError | None]:
        outcome = self._outcome_of(user_ids)
        if outcome is not None and outcome.refused:
            raise BatchRefused(outcome)
        return [outcome] * len(user_ids)

    def _outcome_of(self, user_ids: Sequence[str]) -> SegmentError | None:
        try:
            self._pause.check()
            self._keep_the_pace()
            answer = self._session.post(
                self._url,
                json={
                    "regulationType": self._type,
                    "subjectType": "USER_ID",
                    "subjectIds": list(user_ids),
                },
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=timeout(self._call_seconds),
            )
        except NotCalled as not_called:
            return SegmentError(str(not_called))
        except requests.RequestException as error:
            return SegmentError(f"Segment's Public API was not reached: {why(error)}")
        self._pause.heed(answer)
        if answer.status_code != HTTPStatus.OK:
            reason = f"Segment's Public API answered {answer.status_code}"
            return SegmentError(reason, refused=answer.status_code == HTTPStatus.BAD_REQUEST)
        if not _says_regulated(answer):
            return SegmentError("what answered 200 is not Segment's Public API")
        return None

    def _keep_the_pace(self) -> None:
        wait = self._next_call - self._clock()
        if wait > 0:
            self._sleep(wait)
        self._next_call = self._clock() + _SECONDS_BETWEEN_CALLS


def _says_regulated(answer: requests.Response) -> bool:
    try:
        return bool(answer.json()["data"]["regulateId"])
    except (ValueError, KeyError, TypeError):
        return False
