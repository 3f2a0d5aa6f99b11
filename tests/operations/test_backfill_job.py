"""backfill as a job: several tasks, each with its part of the ids, killed at will and started again."""

import contextlib
import itertools
import json
import os
import pty
import re
import signal
import subprocess
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from playground.commercetools import CommercetoolsStandIn
from playground.segment import SegmentStandIn
from playground.shop import Shop
from playground.stand_in import RESET_AFTER_READ, Call, answer
from playground.storage import StorageStandIn
from service.operations import Exit, Output
from service.operations.backfill_files import lanes_for
from service.operations.backfill_report import LINE_FIELDS, Counts, Lines, Progress
from service.operations.backfill_task import Task
from tests.operations.commands import ROOT, Ended, Running, command, environment_of, run
from tests.operations.test_backfill import LONG, World, a_world, is_a_page
from tests.operations.test_backfill_orders import START, Sold

LANES = 2
PLACE = "gs://checkpoints/backfill"
SHARED = "backfill.customers"


class Job(World):
    """A shop, Segment and a bucket, and a job of several tasks between them."""

    def __init__(self, world: World, storage: StorageStandIn, tasks: int) -> None:
        super().__init__(world.segment, world.commercetools, world.published, world.folder)
        self.storage = storage
        self.tasks = tasks
        self.index = 0
        self.execution = "backfill-abcde"
        self.more: dict[str, str] = {}

    def settings(self, **more: str) -> dict[str, str]:
        return super().settings(
            **{
                "BACKFILL_CHECKPOINT": PLACE,
                "STORAGE_EMULATOR_HOST": self.storage.url,
                "CLOUD_RUN_TASK_INDEX": str(self.index),
                "CLOUD_RUN_TASK_COUNT": str(self.tasks),
                "CLOUD_RUN_EXECUTION": self.execution,
                **self.more,
                **more,
            }
        )

    def run_task(self, index: int, *arguments: str, **settings: str) -> Ended:
        return self.run("--lanes", str(LANES), *arguments, CLOUD_RUN_TASK_INDEX=str(index), **settings)

    def run_all(self, *arguments: str, **settings: str) -> list[Ended]:
        """Run every task to its end, at the same time."""
        with ThreadPoolExecutor(self.tasks) as pool:
            return list(pool.map(lambda index: self.run_task(index, *arguments, **settings), range(self.tasks)))

    @contextmanager
    def begun_all(self, lanes: int = LANES) -> Iterator[list[Running]]:
        with ExitStack() as stack:
            processes = []
            for index in range(self.tasks):
                self.index = index
                processes.append(stack.enter_context(self.begun("--lanes", str(lanes))))
            yield processes

    def shared(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.storage.objects[SHARED][0])
        return document

    def progress(self, index: int) -> dict[str, Any]:
        name = f"{SHARED}.{self.shared()['id']}.task-{index + 1}-of-{self.tasks}"
        document: dict[str, Any] = json.loads(self.storage.objects[name][0])
        return document


@contextmanager
def a_job(folder: Path, population: int, tasks: int, latency: float = 0.0) -> Iterator[Job]:
    with a_world(folder, population, latency) as world, StorageStandIn() as storage:
        yield Job(world, storage, tasks)


def lines(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.err.splitlines() if line.startswith("{")]


def report(ended: Ended) -> dict[str, Any]:
    [line] = [line for line in lines(ended) if "report" in line]
    return line


def is_a_batch(call: Call) -> bool:
    return len(call.json()["batch"]) > 1


# The ids


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("number", [1, 3, 8])
def test_the_tasks_have_every_id_once(count: int, number: int) -> None:
    lanes = [lane for index in range(count) for lane in lanes_for(number, Task(index, count))]

    assert (lanes[0].after, lanes[-1].upto) == ("", "")
    assert all(lane.upto == following.after for lane, following in itertools.pairwise(lanes))
    assert [lane.after for lane in lanes] == sorted({lane.after for lane in lanes})
    for index in range(count):
        assert sum(lane.share_left for lane in lanes_for(number, Task(index, count))) == pytest.approx(1 / count)


# Kills


@pytest.mark.lengthy
@pytest.mark.timeout(240)
def test_tasks_that_are_killed_at_will_miss_nobody_and_repeat_at_most_what_was_in_flight(tmp_path: Path) -> None:
    tasks, kills, population = 3, 2, 3_000
    with a_job(tmp_path, population, tasks) as job:
        for _ in range(kills):
            # More calls than lanes: at least one lane has made a second call, so its first one is in the checkpoint.
            with job.segment.hold(is_a_batch, after=2) as held, job.begun_all(lanes=1) as processes:
                assert held.wait_for(tasks - 1, LONG)
                for process in processes:
                    process.kill()
                    process.wait()

        ended = job.run_all()

        assert [each.code for each in ended] == [Exit.DONE] * tasks, [each.said for each in ended]
        assert job.differences() == []
        assert job.segment.accepted == population
        assert job.repeated() <= tasks * kills
        assert sum(report(each)["report"]["sent"] for each in ended) == population
        assert job.shared()["finished"] is True


def test_a_task_that_is_started_twice_goes_on_once(tmp_path: Path) -> None:
    with a_job(tmp_path, 600, tasks=1) as job:
        with job.segment.hold(is_a_batch) as held, job.begun("--lanes", str(LANES)) as first:
            assert held.wait_for(LANES, LONG)
            first.send_signal(signal.SIGSTOP)
            held.let_go()
            later = job.run_task(0)
            first.send_signal(signal.SIGCONT)
            said = first.rest()

        assert later.code == Exit.DONE
        assert first.returncode == Exit.STOPPED
        assert b"Another process works on the same task" in said
        assert job.differences() == []


def test_a_storage_that_fails_and_loses_answers_loses_no_progress(tmp_path: Path) -> None:
    with a_job(tmp_path, 600, tasks=1) as job:
        job.storage.fail_next(answer(503), 1)
        job.storage.fail_next(RESET_AFTER_READ.after_effect(), 2, on="/upload")

        ended = job.run_task(0)

        assert ended.code == Exit.DONE, ended.said
        assert (job.segment.accepted, job.segment.duplicates) == (600, 0)
        assert "Cloud Storage answered 503; trying again" in ended.err


# Runs


def test_a_range_in_which_nothing_is_left_is_skipped_until_all_are_done(tmp_path: Path) -> None:
    with a_job(tmp_path, 300, tasks=2) as job:
        first = job.run_task(0)
        read = sum(map(is_a_page, job.commercetools.calls))

        again = job.run_task(0, CLOUD_RUN_EXECUTION="backfill-later")

        assert sum(map(is_a_page, job.commercetools.calls)) == read, "nobody was read"
        assert (again.code, report(again)["report"]["sent"]) == (Exit.DONE, report(first)["report"]["sent"])
        assert job.shared()["finished"] is False
        assert job.run_task(1).code == Exit.DONE
        assert job.shared()["finished"] is True
        assert (job.segment.accepted, job.segment.duplicates) == (300, 0)


def test_when_all_is_done_the_next_execution_begins_anew_and_a_late_retry_of_the_last_one_does_nothing(
    tmp_path: Path,
) -> None:
    with a_job(tmp_path, 200, tasks=2) as job:
        job.run_all()
        run_id = job.shared()["id"]
        late = job.run_task(1)
        assert (late.code, job.segment.duplicates) == (Exit.DONE, 0)

        job.run_all(CLOUD_RUN_EXECUTION="backfill-next")

        assert job.segment.duplicates == 200
        assert job.shared()["id"] != run_id


def test_other_settings_or_another_number_of_tasks_end_it_before_anything_is_sent(tmp_path: Path) -> None:
    with a_job(tmp_path, 200, tasks=2) as job:
        job.run_task(0)

        other_user = job.run_task(1, SEGMENT_USER_ID="email")
        job.tasks = 3
        other_tasks = job.run_task(2)

        assert (other_user.code, other_tasks.code) == (Exit.UNUSABLE, Exit.UNUSABLE)
        assert "another SEGMENT_USER_ID" in other_user.err
        assert f"or remove gs://checkpoints/{SHARED} to begin anew" in other_user.said
        assert "belongs to a backfill of 2 tasks" in other_tasks.err


def test_settings_by_which_nobody_was_sent_can_be_corrected(tmp_path: Path) -> None:
    with a_job(tmp_path, 200, tasks=1) as job:
        failed = job.run_task(0, "--patience", "0", SEGMENT_HOST="http://127.0.0.1:9")
        assert failed.code == Exit.STOPPED

        assert job.run_task(0).code == Exit.DONE
        assert job.differences() == []


def test_orders_are_split_too_and_have_a_checkpoint_of_their_own(tmp_path: Path) -> None:
    hours = (START + timedelta(hours=number) for number in itertools.count())
    shop = Shop(publish=lambda _data, _attributes: None, clock=lambda: next(hours))
    with (
        SegmentStandIn() as segment,
        CommercetoolsStandIn(shop, orders=True) as commercetools,
        StorageStandIn() as storage,
    ):
        world = Sold(segment, commercetools, deque(), tmp_path)
        sold = [world.sold(customerEmail="ann@example.com") for _ in range(30)]
        job = Job(world, storage, tasks=2)
        of_the_job = {name: said for name, said in job.settings().items() if name.startswith(("B", "STORAGE", "CLOUD"))}

        ended = [world.send(**{**of_the_job, "CLOUD_RUN_TASK_INDEX": str(index)}) for index in range(2)]

        assert [each.code for each in ended] == [Exit.DONE] * 2, [each.said for each in ended]
        assert world.told() == Counter({("Order Completed", order_id): 1 for order_id in sold})
        assert min(storage.objects) == "backfill.orders"
        counted = [int(re.findall(r"the history of about (\d+) orders", each.said)[0]) for each in ended]
        assert counted == [report(each)["done"] for each in ended]
        assert sum(counted) == 30


def test_who_changed_while_it_ran_is_swept_by_the_task_that_has_them_alone(tmp_path: Path) -> None:
    with a_job(tmp_path, 40, tasks=2) as job:
        with job.segment.hold(is_a_batch, before_effect=True) as held, job.begun_all() as processes:
            assert held.wait_for(2 * LANES, LONG)
            for customer_id in list(job.shop.customers):
                job.shop.change(customer_id, {"action": "setFirstName", "firstName": "Newer"})
            held.let_go()
            for process in processes:
                process.rest()

        assert [process.returncode for process in processes] == [Exit.DONE] * 2
        assert job.differences() == []
        assert (job.segment.accepted, job.segment.duplicates) == (80, 0)


# What it says


def test_the_report_of_a_task_is_one_line_of_numbers(tmp_path: Path) -> None:
    with a_job(tmp_path, 100, tasks=2) as job:
        ended = job.run_task(1)

        line = report(ended)
        assert ended.out == ""
        assert (line["severity"], line["task"], line["tasks"], line["share"]) == ("INFO", 2, 2, 100.0)
        assert line["message"] == f"Backfilled: {line['done']} read, {line['done']} sent, 0 rejected"
        assert line["about"] == line["done"] == line["report"]["sent"]
        assert line.keys() <= {"severity", "message", *LINE_FIELDS}


def test_a_reject_is_a_line_without_personal_data(tmp_path: Path) -> None:
    with a_job(tmp_path, 20, tasks=1) as job:
        one = next(iter(job.shop.customers))
        job.shop.change(one, {"action": "setCompanyName", "companyName": "Large " * 6_000})

        ended = job.run_task(0)

        assert ended.code == Exit.ATTENTION
        [reject] = [line for line in lines(ended) if "resource_id" in line]
        assert (reject["severity"], reject["resource_id"], reject["version"]) == ("WARNING", one, 2)
        assert reject["message"].startswith("Rejected: ")
        assert "Large" not in ended.said
        assert report(ended)["severity"] == "WARNING"
        assert not list(tmp_path.iterdir()), "no file is written"


def test_a_run_that_stops_says_how_far_it_came(tmp_path: Path) -> None:
    with a_job(tmp_path, 20, tasks=1) as job:
        ended = job.run_task(0, "--patience", "0", SEGMENT_HOST="http://127.0.0.1:9")

        assert ended.code == Exit.STOPPED
        assert report(ended)["severity"] == "ERROR"
        assert report(ended)["message"] == "Backfill stopped: 0 read, 0 sent, 0 rejected"


def test_a_dry_run_counts_the_ids_of_its_task_and_needs_no_storage(tmp_path: Path) -> None:
    with a_job(tmp_path, 300, tasks=3) as job:
        ended = job.run_all("--dry-run", SEGMENT_WRITE_KEY="")

        assert [each.code for each in ended] == [Exit.DONE] * 3
        assert sum(report(each)["report"]["to_send"] for each in ended) == 300
        assert job.segment.calls == job.storage.calls == []
        assert "@" not in "".join(each.said for each in ended), "a log has no personal data"


# What is refused


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        ((), {"BACKFILL_CHECKPOINT": ""}, "A job needs --checkpoint gs://BUCKET/NAME"),
        (("--checkpoint", "gs://nothing"), {}, "--checkpoint must be a file or gs://BUCKET/NAME"),
        (("--rejects", "file"), {}, "leave out --rejects"),
        (("--rejects-with-data",), {}, "leave out --rejects"),
        ((), {"CLOUD_RUN_TASK_INDEX": "2"}, "CLOUD_RUN_TASK_INDEX must be"),
        ((), {"CLOUD_RUN_TASK_COUNT": "many"}, "CLOUD_RUN_TASK_INDEX must be"),
    ],
)
def test_what_cannot_be_kept_or_split_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], settings: Mapping[str, str], said: str
) -> None:
    with a_job(tmp_path, 0, tasks=2) as job:
        job.more = dict(settings)

        ended = job.run(*arguments)

        assert ended.code == Exit.UNUSABLE
        assert said in ended.said
        assert job.segment.calls == []


def test_credentials_that_are_missing_are_named(tmp_path: Path) -> None:
    with a_job(tmp_path, 0, tasks=1) as job:
        job.more = {"STORAGE_EMULATOR_HOST": "", "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "nothing.json")}

        ended = job.run()

        assert ended.code == Exit.UNUSABLE
        assert "no usable Google credentials here. Run: gcloud auth application-default login." in ended.said


def test_the_checkpoint_in_a_bucket_needs_no_job(tmp_path: Path) -> None:
    with a_job(tmp_path, 50, tasks=1) as job:
        settings = {name: value for name, value in job.settings().items() if not name.startswith("CLOUD_RUN")}

        ended = run("backfill", "--json", "--settle", "0", settings=settings, cwd=tmp_path)

        assert (ended.code, ended.document["sent"]) == (Exit.DONE, 50)
        assert job.shared()["finished"] is True


# A run by hand: the lines, the bill, one of those that would be sent


def a_console(*, terminal: bool) -> tuple[Console, StringIO]:
    text = StringIO()
    return Console(file=text, force_terminal=terminal, width=400, color_system=None), text


def test_a_dry_run_explains_one_of_those_that_would_be_sent_on_a_terminal_alone(tmp_path: Path) -> None:
    with a_world(tmp_path, 5) as world:
        piped = run("backfill", "--dry-run", settings=world.settings(), cwd=tmp_path)
        screen, end = pty.openpty()
        with subprocess.Popen(  # noqa: S603  # our own command
            command("backfill", "--dry-run"),
            env=environment_of(world.settings()),
            cwd=tmp_path,
            stdout=end,
            stderr=subprocess.PIPE,
        ) as process:
            os.close(end)
            shown = bytearray()
            with contextlib.suppress(OSError):  # the terminal ends with the process
                while read := os.read(screen, 65_536):
                    shown += read
            _, said = process.communicate(timeout=LONG)
        os.close(screen)

        assert "Segment bills by tracked users" in piped.err
        assert "@" not in piped.said
        assert b"Segment bills by tracked users" in said
        assert b"One of the customers as it would be sent" in shown
        assert b"@" in shown


def test_a_run_says_what_is_billed_before_it_sends(tmp_path: Path) -> None:
    with a_world(tmp_path, 5) as world:
        assert "Segment bills by tracked users" in world.run().err


def test_progress_without_a_terminal_is_a_line_of_json_every_ten_seconds() -> None:
    remarks, text = a_console(terminal=False)
    output = Output(remarks, remarks)
    now = iter([100.0, 105.0, 110.0])
    progress = Progress(output, Lines(output, Task(2, 5)), dry_run=False, clock=lambda: next(now))

    progress.update(Counts(read=10, sent=10), 0.1)
    progress.update(Counts(read=60, sent=50), 0.25)

    line = json.loads(text.getvalue())
    assert line == {
        "severity": "INFO",
        "message": "Backfilling: 25%, 60 read, 50 sent, 6/s",
        "task": 3,
        "tasks": 5,
        "done": 60,
        "about": 240,
        "share": 25.0,
        "rate": 6.0,
    }


def test_what_a_run_leaves_behind_is_not_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()

    assert {"*.checkpoint.json", "*.rejects.jsonl", "infra/*.tfvars", "/build/"} <= set(ignored)
