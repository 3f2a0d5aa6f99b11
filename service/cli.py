"""The command commercetools-segment."""

import inspect
import io
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperArgument, TyperCommand, TyperGroup

from service import __version__
from service.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.operations import Environment, Output
    from service.operations.deployed import Whose

# Each command imports its module when it runs: grpc and others take long to import.
# ruff: noqa: PLC0415


def _named(params: list[Any]) -> list[Any]:
    """Return parameters of which the help shows no Python type: a metavar says what one takes; a flag takes nothing."""
    for each in params:
        if isinstance(each, TyperArgument):
            each.display_type_rich = lambda ctx: None  # type: ignore[method-assign]  # noqa: ARG005  # its metavar stands before it
        elif each.is_flag:
            each.metavar = ""
    return params


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  # typer gives its class no public name
        return _named(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  # as above
        return _named(super().get_params(ctx))


_EXIT_CODES = """
Exit codes: 0 done; 1 done, and something that it found needs attention; 2 the command line or the configuration is
invalid, nothing was done; 3 an outside party or the disk failed, and the same command continues from there;
4 a bug; 130 Ctrl-C, as 3.
"""

app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Syncs customers and orders from commercetools to Twilio Segment.",
    epilog=_EXIT_CODES,
)
dead_letters = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    help="The messages in the dead-letter subscription: list, show, replay, drop.",
    epilog="Works against an emulator with PUBSUB_EMULATOR_HOST.",
)
app.add_typer(dead_letters, name="dead-letters")
mapping = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    help="The mapping file, which says what of a customer is sent: show, suggest, test, diff, schema.",
    epilog="Only suggest and --service use the network, and none needs SEGMENT_WRITE_KEY.",
)
app.add_typer(mapping, name="mapping")

_WIDTH = 120  # of tables where the output is no terminal, unless COLUMNS is set

_KEY_HELP = "The key of the commercetools Subscription; else CTP_SUBSCRIPTION_KEY, else commercetools-segment."

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for programs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]

# Of dead letters

Subscription = Annotated[
    str | None,
    typer.Option(
        metavar="SUBSCRIPTION",
        help="The dead-letter subscription, projects/PROJECT/subscriptions/NAME; else DEAD_LETTER_SUBSCRIPTION, else "
        "the one of the service's DEAD_LETTER_TOPIC.",
    ),
]
Reason = Annotated[
    str, typer.Option(metavar="TEXT", help="Only those with this text in their reason, case-insensitive.")
]
Limit = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=10_000, help="The largest number of messages.")]
Wait = Annotated[
    float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds to wait for a message or an answer, at least 10.")
]
ShowData = Annotated[bool, typer.Option("--show-data", help="Also show the published data: personal data.")]
SomeIds = Annotated[list[str] | None, typer.Argument(metavar="[MESSAGE]...", help="Only these messages.")]

_LIMIT = 1000
_WAIT = 10.0


def _show_version(wanted: bool) -> None:  # noqa: FBT001  # as typer calls it
    if wanted:
        typer.echo(f"commercetools-segment {__version__}")
        raise typer.Exit


# Whose settings a command takes

_WHOSE = "Whose settings, if not this shell's"
_SOURCES: dict[str, Any] = {
    "service": Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The deployed Cloud Run service's own.", rich_help_panel=_WHOSE),
    ],
    "region": Annotated[
        str | None,
        typer.Option(metavar="REGION", help="Its region. Default: gcloud's run/region.", rich_help_panel=_WHOSE),
    ],
    "project": Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Its project. Default: gcloud's.", rich_help_panel=_WHOSE)
    ],
    "env_file": Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="NAME=value lines: terraform output -raw operator_environment. Secrets are asked for.",
            rich_help_panel=_WHOSE,
        ),
    ],
}


def takes_settings(command: "Callable[..., None]") -> "Callable[..., None]":
    """Give a command the options that say whose settings it takes, as its argument `whose`.

    One that the command has itself is also its own argument, with its own help.
    """

    @wraps(command)
    def with_sources(*arguments: Any, **options: Any) -> None:  # noqa: ANN401  # the command's own
        from service.operations.deployed import Whose

        chosen = {name: options[name] for name in _SOURCES}
        own = {name: value for name, value in options.items() if name in signature.parameters}
        command(*arguments, whose=Whose(**chosen), **own)

    signature = inspect.signature(command)
    kept = [each for name, each in signature.parameters.items() if name != "whose"]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _SOURCES.items()
        if name not in signature.parameters
    ]
    with_sources.__signature__ = signature.replace(parameters=[*kept, *more])  # type: ignore[attr-defined]  # PEP 362
    annotations = {name: each for name, each in command.__annotations__.items() if name != "whose"}
    with_sources.__annotations__ = {**_SOURCES, **annotations}
    return with_sources


def _environment(whose: "Whose", output: "Output", *, tries_a_file: bool = False) -> "Environment":
    """Return the settings of a command. At a terminal it asks for a secret that no source has, without echo."""

    def ask(name: str) -> str:
        return str(typer.prompt(name, hide_input=True, err=True))

    return whose.environment(os.environ, output.remark, ask if sys.stdin.isatty() else None, tries_a_file=tries_a_file)


def _look_for_a_terminal(to: str, *, yes: bool, dry_run: bool, why: str = "") -> None:
    """Raise ConfigError if a command would ask and there is no terminal to ask at."""
    if not (yes or dry_run or sys.stdin.isatty()):
        raise ConfigError(f"{why}There is no terminal to ask at: add --yes to {to}, or --dry-run to look.")


def _asks(question: str, *, yes: bool) -> "Callable[[], bool] | None":
    """Return how to ask a question; None if there is no terminal to ask at and no --yes."""
    if not (yes or sys.stdin.isatty()):
        return None
    return lambda: yes or typer.confirm(question, err=True)


@app.callback()
def commands(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Sync customers and orders from commercetools to Segment."""


@app.command(cls=_Command)
@takes_settings
def explain(
    file: Annotated[
        typer.FileBinaryRead | None,
        typer.Argument(metavar="[FILE|-]", help="What to explain, in JSON; - is standard input, the default."),
    ] = None,
    *,
    whose: "Whose",
    dead_letter: Annotated[
        str | None,
        typer.Option(
            metavar="MESSAGE", help="Explain this dead letter instead: what a replay would do. It stays where it is."
        ),
    ] = None,
    subscription: Subscription = None,
    read: Annotated[
        bool,
        typer.Option(
            "--read", help="Read what it is about from commercetools now, as the service does. Needs the CTP_ settings."
        ),
    ] = False,
    wait: Wait = _WAIT,
    as_json: AsJson = False,
) -> None:
    """Explain a push body, a notification, a customer, an order or a payment: its outcome, why, and what Segment gets.

    Takes a push (wrapped or not, or in an Eventarc event), a notification in Platform or CloudEvents format, a
    customer, an order, a payment, or an answer of commercetools' API with these in it, of which it takes the first.
    Shows for each trait where it comes from, or why it is missing. Sends nothing, and uses no network without --read.
    The service's own settings apply: SEGMENT_USER_ID, SEGMENT_CLEAR_TRAITS, SEGMENT_WRITE_KEY, ORDERS …

    Of an order it shows who bought, and where each amount comes from, line by line. An order alone is explained as at
    its OrderCreated. The order of a payment is found only with --read. Where ORDERS is off, the outcome is Ignored, and
    what ORDERS=on would send is shown apart from it (in JSON: "otherwise"); so it is where a notification of an order
    lacks the CTP_ settings.

    Exits with 0 if the message would be delivered or ignored, and with 1 if it would be refused or fail, or if the
    outcome is only known with --read.
    """
    from service.operations import explain as operation

    if dead_letter is not None and file is not None:
        raise ConfigError("--dead-letter MESSAGE is explained instead of a FILE: give one of them.")
    with _output(as_json=as_json) as output:
        environment = _environment(whose, output, tries_a_file=True)
        if dead_letter is None:
            raise typer.Exit(operation.run((file or sys.stdin.buffer).read(), output, environment, read=read))

        from service.operations import dead_letters

        letter = dead_letters.found(dead_letters.subscription_by(environment, subscription), dead_letter, wait=wait)
        given = f"a dead letter ({letter.reason})"
        raise typer.Exit(operation.run(letter.as_push, output, environment, read=read, given=given))


@app.command(cls=_Command)
@takes_settings
def check(
    *,
    whose: "Whose",
    topic: Annotated[
        str | None,
        typer.Option(
            metavar="TOPIC", help="projects/PROJECT/topics/TOPIC; else PUBSUB_TOPIC, else that of the Subscription."
        ),
    ] = None,
    subscription: Annotated[
        str | None,
        typer.Option(
            metavar="SUBSCRIPTION",
            help="The push subscription, projects/PROJECT/subscriptions/NAME; else PUBSUB_SUBSCRIPTION, else the one "
            "of the topic that pushes.",
        ),
    ] = None,
    subscription_key: Annotated[str | None, typer.Option(metavar="KEY", help=_KEY_HELP)] = None,
    send_test_event: Annotated[
        bool,
        typer.Option("--send-test-event", help="Send a marked identify to Segment, to look for in its debugger."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the configuration, commercetools, Segment and Google: one line each, and what to do if something is wrong.

    Checks the settings; commercetools' token, scopes and customers, with ORDERS=on also orders and payments; Segment;
    the commercetools Subscription, its Messages and its health; the topic, the push subscription, dead letters and
    their grants. Changes nothing. A line says "cannot tell" where a permission is missing. The Subscription needs an
    API client with manage_subscriptions, Google's side needs application default credentials.

    Exits with 1 if a line says "failed".
    """
    from service.operations import check as operation

    with _output(as_json=as_json) as output:
        environment = _environment(whose, output, tries_a_file=True)
        names = operation.names_by(environment, topic, subscription, subscription_key)
        raise typer.Exit(operation.run(output, environment, names, send_test_event=send_test_event))


@app.command(cls=_Command)
@takes_settings
def subscribe(
    *,
    whose: "Whose",
    topic: Annotated[
        str | None,
        typer.Option(metavar="TOPIC", help="projects/PROJECT/topics/TOPIC; else PUBSUB_TOPIC, which must then be set."),
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help=_KEY_HELP)] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="Platform|CloudEvents",
            help="Platform (the default) or CloudEvents. The service reads both. A Subscription keeps its format.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the difference; exits with 1 if there is one.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before a Subscription loses something or goes elsewhere.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create the commercetools Subscription for the topic, or update it.

    It asks before a Subscription loses something or changes its topic; without a terminal that takes --yes.

    It gets what this configuration needs: the changes of customers; CustomerDeleted if erasure is by e-mail address;
    and with ORDERS=on the Messages of orders and payments, which ORDERS=off takes away. A Subscription whose delivery
    has stopped is restarted. Needs the CTP_ settings of an API client with manage_subscriptions, and a topic to which
    commercetools may publish.
    """
    from service.operations import subscription as operation

    with _output(as_json=as_json) as output:
        chosen = None
        if format_ is not None:
            by_name = {each.lower(): each for each in operation.Format}
            if format_.lower() not in by_name:
                raise ConfigError("--format must be Platform or CloudEvents.")
            chosen = by_name[format_.lower()]
        raise typer.Exit(
            operation.run(
                output,
                _environment(whose, output),
                topic=topic,
                key=key,
                format_=chosen,
                agreed=_asks("Change it?", yes=yes),
                dry_run=dry_run,
            )
        )


@app.command(cls=_Command)
@takes_settings
def unsubscribe(
    *,
    whose: "Whose",
    key: Annotated[str | None, typer.Option(metavar="KEY", help=_KEY_HELP)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be deleted; exits with 1 if there is something.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the commercetools Subscription, so that commercetools publishes no more. Asks first.

    What changes in the shop afterwards does not reach Segment; after another subscribe, a backfill makes up for it.
    Notifications that are in Pub/Sub are still delivered. Needs the CTP_ settings of an API client with
    manage_subscriptions. Exits with 1 if the answer was no.
    """
    from service.operations import subscription as operation

    _look_for_a_terminal("delete", yes=yes, dry_run=dry_run)

    def agreed() -> bool:
        return yes or typer.confirm("Delete it?", err=True)

    with _output(as_json=as_json) as output:
        raise typer.Exit(
            operation.run_unsubscribe(output, _environment(whose, output), key=key, dry_run=dry_run, agreed=agreed)
        )


class Backfilled(StrEnum):
    """What backfill can send: the names in service.operations.backfill_kinds.KINDS."""

    CUSTOMERS = "customers"
    ORDERS = "orders"


@app.command(cls=_Command)
@takes_settings
def backfill(
    kind: Annotated[
        Backfilled, typer.Argument(metavar="[customers|orders]", help="What to send.", show_default=True)
    ] = Backfilled.CUSTOMERS,
    *,
    whose: "Whose",
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only customers changed, or orders created, since: 2026-01-01, or 2026-01-01T12:00:00Z (without a "
            "zone, UTC). Orders need it.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only orders created before this time. Default: the start of the run."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="PREDICATE", help="Only those that fulfil this predicate, such as 'customerGroup(id=\"…\")'."
        ),
    ] = None,
    checkpoint: Annotated[
        str,
        typer.Option(
            envvar="BACKFILL_CHECKPOINT",
            metavar="FILE|gs://BUCKET/NAME",
            help="The file with its progress, removed when all is done; or objects in Cloud Storage, for a job.",
        ),
    ] = "backfill.checkpoint.json",
    rejects: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file for what cannot be sent; by default NAME.rejects.jsonl beside the checkpoint file.",
        ),
    ] = None,
    rejects_with_data: Annotated[
        bool,
        typer.Option(
            "--rejects-with-data", help="Also write the customer or order to the rejects: personal data in a file."
        ),
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", min=0.01, help="Most calls a second, to each side. Default: no limit."),
    ] = None,
    lanes: Annotated[
        int,
        typer.Option(
            metavar="NUMBER",
            min=1,
            max=32,
            help="Ranges of ids that are sent concurrently, each with one call in flight.",
        ),
    ] = 8,
    patience: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="Seconds for which a failed call is retried before the run stops."),
    ] = 600,
    again: Annotated[
        bool, typer.Option("--again", help="Tell Segment everything once more, also what it was told within a day.")
    ] = False,
    settle: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Seconds until commercetools' queries show every change, before each sweep of customers.",
        ),
    ] = 2,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would be done; sends nothing and writes no file.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether orders are to be sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send every customer to Segment, or those changed since a time; or orders, by the same rules as live events.

    It can run beside live traffic. The same version of a customer by the same rules has the same messageId, so Segment
    drops what it was told within about a day (--again tells it once more). At the end it sends once more who changed
    meanwhile, until nobody did, so that Segment has the newest state last. Ctrl-C, a kill or a full disk lose nothing:
    the same command continues from the checkpoint, and sends at most the batches in flight again. A customer or an
    order that Segment refuses is written to the rejects with the reason, and the run continues.

    With "orders" it sends the history of those created from --since on and before --until: Order Completed, Order
    Cancelled of those that are cancelled now, and Order Refunded, at the time when it happened and with the messageIds
    of live events; imported orders by ORDER_IMPORTS. Destinations may count history twice, or as today's, so it warns
    and asks first.

    --dry-run reads the same and counts what would be sent, suppressed, skipped or rejected, and why; and for each trait
    how many customers would have a value, how many a null, and how many have another kind of value than the mapping
    file says. On a terminal, without --json, it also explains one of those that would be sent: personal data. It has no
    checkpoint, so it always begins anew.

    As a job of Cloud Run (docs/operations.md, "Backfill as a job") it sends the ids of its task alone, by
    CLOUD_RUN_TASK_INDEX and CLOUD_RUN_TASK_COUNT, and needs --checkpoint gs://BUCKET/NAME. Then the rejects are lines
    in the log, without the resource, and so is the report at the end.

    Needs SEGMENT_WRITE_KEY and the CTP_ settings, and the service's own settings that decide who a customer is and what
    is sent: SEGMENT_USER_ID, SEGMENT_CLEAR_TRAITS, MAPPING_FILE, ORDERS, ORDER_IMPORTS (and SEGMENT_PUBLIC_API_TOKEN,
    if the mapping file suppresses). --dry-run needs neither SEGMENT_WRITE_KEY nor the token. Exits with 1 if there are
    rejects, or traits left out because of another kind of value, or if the answer was no.
    """
    from service.operations import backfill as operation
    from service.operations.backfill_task import task_of

    if kind is Backfilled.ORDERS:
        why = "Destinations may count the history of orders twice, or as today's. "
        _look_for_a_terminal("send it", yes=yes, dry_run=dry_run, why=why)

    def agreed() -> bool:
        return yes or typer.confirm("Send it?", err=True)

    with _output(as_json=as_json) as output:
        plan = operation.Plan(
            kind=kind,
            checkpoint=checkpoint,
            rejects=rejects,
            task=task_of(os.environ),
            interval=operation.interval_of(kind, since or None, until or None, where),
            rate=rate,
            lanes=lanes,
            patience=patience,
            rejects_with_data=rejects_with_data,
            again=again,
            settle=settle,
            dry_run=dry_run,
        )
        raise typer.Exit(operation.run(plan, output, _environment(whose, output, tries_a_file=dry_run), agreed))


class Kept(StrEnum):
    """What history can show: the names in service.operations.history.TYPES."""

    CUSTOMER = "customer"
    ORDER = "order"
    PAYMENT = "payment"


@app.command(cls=_Command)
@takes_settings
def history(
    resource_id: Annotated[str, typer.Argument(metavar="ID", help="The id in commercetools.")],
    *,
    whose: "Whose",
    type_: Annotated[
        Kept, typer.Option("--type", metavar="customer|order|payment", help="What has this id.")
    ] = Kept.CUSTOMER,
    since: Annotated[
        str,
        typer.Option(
            metavar="AGE|TIME", help="How far back: an age (90m, 12h, 7d), or 2026-01-01, or 2026-01-01T12:00:00Z."
        ),
    ] = "30d",
    project: Annotated[
        str | None,
        typer.Option(
            metavar="PROJECT",
            help="The project of the log. Default: gcloud's with --service, else the one in DEAD_LETTER_SUBSCRIPTION, "
            "else GOOGLE_CLOUD_PROJECT.",
            rich_help_panel=_WHOSE,
        ),
    ] = None,
    subscription: Subscription = None,
    limit: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=10_000, help="The largest number of log lines.")
    ] = _LIMIT,
    wait: Wait = _WAIT,
    show_data: Annotated[
        bool,
        typer.Option("--show-data", help="Also show the resource and the data of its dead letters: personal data."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what happened to one customer, order or payment, and why Segment has it or not.

    A timeline of the service's log lines (Cloud Logging), the resource in commercetools now, and the dead letters about
    it, which stay where they are; then a sentence with the reason. It shows ids, times and versions, no personal data.
    Cloud Logging keeps lines for 30 days by default.

    The lines are those of the service that --service names, else of commercetools-segment.

    Needs application default credentials with roles/logging.viewer on the project, and for the dead letters
    roles/pubsub.subscriber on their subscription; reads commercetools if the CTP_ settings are set. A source that
    cannot be read is named, and the others are shown.

    Exits with 0 if it was delivered, ignored or deleted, and with 3 if a source could not be read.
    """
    from service.operations import history as operation
    from service.operations.cloud_logging import CloudLogging

    with _output(as_json=as_json) as output:
        # Here --project is also of use without --service.
        environment = _environment(whose if whose.service else replace(whose, project=None), output)
        asked = operation.question(
            *(type_, resource_id, since),
            service=whose.service,
            project=project,
            subscription=subscription,
            wait=wait,
            limit=limit,
            environment=environment,
            shell=os.environ,
        )
        log = CloudLogging(asked.project, os.environ)
        raise typer.Exit(operation.run(output, asked, log, environment, show_data=show_data))


# The mapping file


@mapping.command("suggest", cls=_Command)
@takes_settings
def suggest_mapping(
    *,
    whose: "Whose",
    path: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write it to this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --output if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a mapping file with a rule for each custom field of the shop's Types, to be cut down and renamed.

    Needs the CTP_ settings of an API client with view_types, and with view_project_settings for the shop's languages.
    """
    from service.operations import mapping_suggest as operation

    with _output(as_json=as_json) as output:
        raise typer.Exit(operation.run(output, _environment(whose, output), path, force=force))


# Dead letters


@dead_letters.command("list", cls=_Command)
@takes_settings
def list_dead_letters(
    *,
    whose: "Whose",
    subscription: Subscription = None,
    reason: Reason = "",
    limit: Limit = _LIMIT,
    wait: Wait = _WAIT,
    show_data: ShowData = False,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first: age, attempts, kind and reason. Acknowledges nothing.

    Attempts are shown for messages that Pub/Sub gave up; the service sets a message aside at the first attempt.
    """
    from service.operations import dead_letters as operation

    with _output(as_json=as_json) as output:
        named = operation.subscription_by(_environment(whose, output), subscription)
        choice = operation.Choice(limit, reason)
        raise typer.Exit(operation.run_list(output, named, choice, wait=wait, show_data=show_data))


@dead_letters.command("show", cls=_Command)
@takes_settings
def show_dead_letters(
    messages: SomeIds = None,
    *,
    whose: "Whose",
    subscription: Subscription = None,
    reason: Reason = "",
    limit: Limit = _LIMIT,
    wait: Wait = _WAIT,
    show_data: ShowData = False,
    data_only: Annotated[
        bool,
        typer.Option("--data-only", help="Write the data of one message as it was published, and nothing else."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show dead letters in full, except their data. Acknowledges nothing.

    explain --dead-letter MESSAGE shows the outcome that one would have now.
    """
    from service.operations import dead_letters as operation

    if data_only and (len(messages or ()) != 1 or as_json or show_data or reason):
        raise ConfigError("--data-only takes one MESSAGE, and no --json, --show-data or --reason.")
    with _output(as_json=as_json) as output:
        named = operation.subscription_by(_environment(whose, output), subscription)
        if data_only and messages:
            raise typer.Exit(operation.run_data(output, named, messages[0], wait=wait))
        choice = operation.Choice(limit, reason, frozenset(messages or ()))
        raise typer.Exit(operation.run_show(output, named, choice, wait=wait, show_data=show_data))


@dead_letters.command("replay", cls=_Command)
@takes_settings
def replay_dead_letters(
    messages: SomeIds = None,
    *,
    whose: "Whose",
    subscription: Subscription = None,
    topic: Annotated[
        str | None,
        typer.Option(metavar="TOPIC", help="Where to publish them: projects/PROJECT/topics/TOPIC; else PUBSUB_TOPIC."),
    ] = None,
    reason: Reason = "",
    limit: Limit = _LIMIT,
    wait: Wait = _WAIT,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Publish dead letters to the topic again, unchanged; each is acknowledged when Pub/Sub has confirmed it.

    A kill in between leaves a message in both places at worst, and the service recognises what it has delivered.
    """
    from service.operations import dead_letters as operation

    with _output(as_json=as_json) as output:
        environment = _environment(whose, output)
        named, to = operation.places_by(environment, subscription, topic)
        choice = operation.Choice(limit, reason, frozenset(messages or ()))
        raise typer.Exit(operation.run_replay(output, named, choice, topic=to, wait=wait, dry_run=dry_run))


@dead_letters.command("drop", cls=_Command)
@takes_settings
def drop_dead_letters(
    messages: SomeIds = None,
    *,
    whose: "Whose",
    subscription: Subscription = None,
    reason: Reason = "",
    limit: Limit = _LIMIT,
    wait: Wait = _WAIT,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Acknowledge dead letters, which deletes them permanently. Shows them and asks first."""
    from service.operations import dead_letters as operation

    _look_for_a_terminal("drop", yes=yes, dry_run=dry_run)

    def agreed(number: int) -> bool:
        return yes or typer.confirm(f"Drop {number} for good?", err=True)

    with _output(as_json=as_json) as output:
        named = operation.subscription_by(_environment(whose, output), subscription)
        choice = operation.Choice(limit, reason, frozenset(messages or ()))
        raise typer.Exit(operation.run_drop(output, named, choice, wait=wait, dry_run=dry_run, agreed=agreed))


# The mapping


@mapping.command("show", cls=_Command)
@takes_settings
def mapping_show(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The mapping file; else MAPPING_FILE, else the built-in rules."),
    ] = None,
    *,
    whose: "Whose",
    data: Annotated[
        bool,
        typer.Option(
            "--data",
            help="Show each field of a customer (with ORDERS=on of an order too) that leaves the shop.",
        ),
    ] = False,
    defaults: Annotated[bool, typer.Option("--defaults", help="Print the built-in rules as a mapping file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every trait: from which field, whether null is sent where that is absent, and the line of its rule.

    SEGMENT_USER_ID and SEGMENT_CLEAR_TRAITS apply. The fingerprint is the one of the service's /health and of the log
    line at its start. --data is for a record of processing (Art. 30 GDPR): it shows fields of commercetools, their
    places in Segment's events, and the write key's fingerprint and region.
    """
    from service.operations import mapping_show as operation

    with _output(as_json=as_json) as output:
        if defaults and (data or file is not None):
            raise ConfigError("--defaults prints the built-in rules alone: without FILE and --data.")
        raise typer.Exit(
            operation.run_defaults(output)
            if defaults
            else operation.run(output, _environment(whose, output, tries_a_file=True), file, data=data)
        )


@mapping.command("test", cls=_Command)
@takes_settings
def mapping_test(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with NAME.json and NAME.identify.json.")],
    *,
    whose: "Whose",
    update: Annotated[
        bool, typer.Option("--update", help="Write each NAME.identify.json that is missing or differs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare what Segment would get for made-up customers with what is expected, by the rules of MAPPING_FILE.

    DIR holds customers, each in a NAME.json that explain takes, and the expected event of each in NAME.identify.json:
    userId, anonymousId, traits and context, as explain --json shows them. Where nothing is sent, it has the reason as
    "ignored" or "refused". SEGMENT_USER_ID and SEGMENT_CLEAR_TRAITS apply as in the service.

    Exits with 1 if an event differs or an expectation is missing, and with 2 if a file cannot be read or there is
    nothing to test.
    """
    from service.operations import mapping_test as operation

    with _output(as_json=as_json) as output:
        raise typer.Exit(operation.run(output, _environment(whose, output, tries_a_file=True), folder, update=update))


@mapping.command("diff", cls=_Command)
@takes_settings
def mapping_diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A mapping file.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another one.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE|-", help="Customers: JSON that explain takes, or .jsonl with one on a line."),
    ] = None,
    *,
    whose: "Whose",
    as_json: AsJson = False,
) -> None:
    """Show what changes from one mapping file to another: the rules, or for given customers their events.

    With FILEs, it shows for each customer's id the traits that appear, vanish, change or become null, with their
    values: personal data. It takes every customer of an API answer.

    Exits with 1 if something changes.
    """
    from service.operations import mapping_diff as operation

    with _output(as_json=as_json) as output:
        raise typer.Exit(operation.run(output, _environment(whose, output), old, new, files or (), sys.stdin.buffer))


@mapping.command("schema", cls=_Command)
def mapping_schema(
    *,
    to: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write it to this file.")] = None,
) -> None:
    """Print the JSON Schema of a mapping file, by which an editor completes and checks it."""
    from service.operations import mapping_show as operation

    with _output(as_json=False) as output:
        raise typer.Exit(operation.run_schema(output, to))


@contextmanager
def _output(*, as_json: bool) -> "Iterator[Output]":
    """Give a command its output, and turn a Trouble into a sentence and an exit code."""
    from service.operations import Exit, Output, Trouble, plain

    results, remarks = _console(), _console(stderr=True)
    try:
        yield Output(results, remarks, as_json=as_json)
    except Trouble as trouble:
        remarks.print(Text(plain(f"Error: {trouble}"), "red"), soft_wrap=True)
        raise typer.Exit(trouble.exit_code) from None
    except (KeyboardInterrupt, typer.Abort):  # the second is Ctrl-C or Ctrl-D at a question
        remarks.print("Stopped; the same command continues from there.")
        raise typer.Exit(Exit.INTERRUPTED) from None


def _console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH
    return Console(stderr=stderr, width=width)


def main(command: "Callable[[], object]" = app) -> None:
    """Run the command. Whatever happens, stderr says it in one sentence and the exit code is one of Exit's."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller; else the next file to be opened would be in its place
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode, closefd=False))  # noqa: SIM115  # until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for what the terminal's encoding cannot show
    try:
        command()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # rich and typer then end with 1, which has a meaning here
            _end(ended.__context__)
        raise
    except Exception as error:  # noqa: BLE001  # a bug too ends with its own exit code
        _end(error)


def _end(error: Exception) -> NoReturn:
    from service.logs import place
    from service.operations import Exit, plain

    match error:
        case ConfigError():
            problem, code = str(error), Exit.UNUSABLE
        case BrokenPipeError():
            problem, code = "", Exit.STOPPED  # its reader has seen enough
        case OSError():
            problem, code = f"{error.strerror or type(error).__name__}.", Exit.STOPPED
        case _:  # without its text, which may quote a customer
            problem, code = f"This is a bug: {place(type(error), error)}", Exit.BUG
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # Python would try again at its exit, and end with a code of its own
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if problem:
        between = "\n" if "\n" in problem else " "  # several settings, or mistakes of a mapping file, have a line each
        _console(stderr=True).print(Text(plain(f"Error:{between}{problem}"), "red"), soft_wrap=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
