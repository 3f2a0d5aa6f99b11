"""Objects in Cloud Storage: one writer at a time, and a lost answer is no loss."""

import json
import threading
from collections.abc import Iterator

import pytest
from google.oauth2.credentials import Credentials

from playground.stand_in import CLOSE_AFTER_READ, FOREIGN, RESET_AFTER_READ, Fault, answer
from playground.storage import StorageStandIn
from service.config import ConfigError
from service.operations import Exit, Trouble
from service.operations.backfill_files import Saving
from service.operations.checkpoint_storage import Bucket, StoredObject, place_of
from service.operations.google_api import GoogleApi

LONG = 60.0


@pytest.fixture
def storage() -> Iterator[StorageStandIn]:
    with StorageStandIn() as storage:
        yield storage


def an_object(storage: StorageStandIn, bucket: str = "checkpoints", patience: float = LONG) -> StoredObject:
    return StoredObject(Bucket(bucket, patience, lambda _: None, {"STORAGE_EMULATOR_HOST": storage.url}), "folder/a b")


def test_what_is_written_can_be_read(storage: StorageStandIn) -> None:
    assert an_object(storage).read() is None

    assert an_object(storage).write({"n": 1})

    assert json.loads(an_object(storage).read() or "")["n"] == 1


def test_of_two_writers_the_one_that_wrote_last_goes_on(storage: StorageStandIn) -> None:
    first, second = an_object(storage), an_object(storage)
    assert first.write({"n": 1})
    second.read()

    assert second.write({"n": 1})
    assert not first.write({"n": 2})
    assert not first.write({"n": 2}), "and it stays so"
    assert second.write({"n": 3})


def test_of_two_writers_that_found_no_object_one_creates_it(storage: StorageStandIn) -> None:
    first, second = an_object(storage), an_object(storage)
    first.read()
    second.read()

    assert (first.write({}), second.write({})) == (True, False)


@pytest.mark.parametrize("fault", [RESET_AFTER_READ.after_effect(), CLOSE_AFTER_READ.after_effect()])
def test_a_write_whose_answer_was_lost_is_found_by_reading(storage: StorageStandIn, fault: Fault) -> None:
    written = an_object(storage)
    assert written.write({"n": 1})
    storage.fail_next(fault)

    assert written.write({"n": 2})

    assert json.loads(written.read() or "")["n"] == 2
    assert written.write({"n": 3})
    assert len([call for call in storage.calls if call.method == "POST"]) == 4, "one of them was refused"


def test_a_lost_answer_is_not_taken_for_anothers_write(storage: StorageStandIn) -> None:
    written, another = an_object(storage), an_object(storage)
    assert written.write({"n": 1})
    another.read()
    with storage.hold(lambda call: b'"n": 2' in call.body, before_effect=True) as held:
        storage.fail_next(RESET_AFTER_READ)
        answers: list[bool] = []
        writer = threading.Thread(target=lambda: answers.append(written.write({"n": 2})))
        writer.start()
        assert held.wait_for(1, LONG)
        assert another.write({"n": 7})
    writer.join(LONG)

    assert answers == [False]


@pytest.mark.parametrize("fault", [answer(429), answer(503), answer(500), answer(408), RESET_AFTER_READ, FOREIGN])
def test_a_call_that_fails_for_a_while_is_retried(storage: StorageStandIn, fault: Fault) -> None:
    written = an_object(storage)
    storage.fail_next(fault, 2)

    assert written.write({"n": 1})
    assert json.loads(written.read() or "")["n"] == 1


def test_storage_that_stays_away_ends_the_run_resumably(storage: StorageStandIn) -> None:
    with storage.failing(answer(503)), pytest.raises(Trouble, match="answered 503, for 0 seconds") as trouble:
        an_object(storage, patience=0).write({})

    assert trouble.value.exit_code is Exit.STOPPED


@pytest.mark.parametrize(
    ("status", "advice"), [(403, "roles/storage.objectUser"), (401, "roles/storage.objectUser"), (400, "--checkpoint")]
)
def test_a_refusal_says_what_to_do(storage: StorageStandIn, status: int, advice: str) -> None:
    with storage.failing(answer(status)), pytest.raises(Trouble, match=f"answered {status}.*{advice}"):
        an_object(storage).write({})


def test_a_bucket_that_is_not_there_is_named(storage: StorageStandIn) -> None:
    with pytest.raises(Trouble, match="404 for gs://another/folder/a b"):
        an_object(storage, "another").write({})


def test_a_token_and_the_quota_project_are_sent_with_each_call(storage: StorageStandIn) -> None:
    credentials = Credentials("secret", quota_project_id="my-quota")  # type: ignore[no-untyped-call]  # google-auth's
    google = GoogleApi("Cloud Storage", "", credentials)
    bucket = Bucket("checkpoints", 0, lambda _: None, {"STORAGE_EMULATOR_HOST": storage.url}, google)

    bucket.read("a")
    bucket.write("a", b"{}", 0)

    assert [call.headers["Authorization"] for call in storage.calls] == ["Bearer secret"] * 2
    assert [call.headers["X-Goog-User-Project"] for call in storage.calls] == ["my-quota"] * 2
    assert storage.calls[1].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "written", ["gs://", "gs://bucket", "gs://bucket/", "gs://B/name", "gs://bucket/a?b", "gs:///a"]
)
def test_a_place_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="gs://BUCKET/NAME"):
        place_of(written)


def test_a_path_is_a_file_and_an_address_a_place() -> None:
    assert place_of("folder/gs.json") is None
    assert place_of("gs://shop-checkpoints/runs/backfill") == ("shop-checkpoints", "runs/backfill")


# Progress is saved for several lanes at once


class Saved:
    """Notes the saves; each takes until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self.number = 0
        self.error: Exception | None = None

    def save(self) -> None:
        self.begun.release()
        assert self.let_go.acquire(timeout=LONG)
        self.number += 1
        if self.error is not None:
            raise self.error


def test_lanes_that_wait_for_a_save_share_the_next_one() -> None:
    saved = Saved()
    saving = Saving(saved.save, 0.0, lambda _: None)
    first = threading.Thread(target=saving.through)
    first.start()
    assert saved.begun.acquire(timeout=LONG)
    others = [threading.Thread(target=saving.through) for _ in range(5)]
    for other in others:
        other.start()
    assert saving.wait_for_lanes(5, LONG)
    saved.let_go.release()
    assert saved.begun.acquire(timeout=LONG)
    saved.let_go.release()
    for thread in [first, *others]:
        thread.join(LONG)

    assert saved.number == 2


def test_between_two_saves_there_is_the_gap() -> None:
    now = 100.0
    waits: list[float] = []
    saving = Saving(lambda: None, 1.0, waits.append, lambda: now)

    saving.through()
    saving.through()
    now += 0.25
    saving.through()

    assert waits == [0.0, 1.0, 0.75]


def test_a_save_that_failed_stops_every_lane() -> None:
    saved = Saved()
    saved.error = Trouble("taken over")
    saved.let_go.release()
    saving = Saving(saved.save, 0.0, lambda _: None)

    for _ in range(2):
        with pytest.raises(Trouble, match="taken over"):
            saving.through()

    assert saved.number == 1
