"""The command commercetools-segment."""

from typing import Annotated

import typer
from rich.console import Console

from service.config import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Keeps a shop's commercetools customers in Segment.",
)


@app.callback()
def commands() -> None:
    """Keeps a shop's commercetools customers in Segment."""


@app.command()
def demo(
    *,
    to_segment: Annotated[
        bool,
        typer.Option(
            "--to-segment", help="Send to the Segment source of SEGMENT_WRITE_KEY instead of the local stand-in."
        ),
    ] = False,
) -> None:
    """Run a small shop's day on this machine and watch every message to its end.

    Exits with 1 if anything was lost or doubled.
    """
    # The local world brings grpc and more, which no other command needs to wait for.
    from service.local import demo as local_demo  # noqa: PLC0415

    raise typer.Exit(local_demo.run(Console(), to_segment=to_segment))


def main() -> None:
    """Run the command; a configuration that will not do ends it with one sentence and exit code 2."""
    try:
        app()
    except ConfigError as error:
        Console(stderr=True).print(f"Error: {error}", style="red")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
