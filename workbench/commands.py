"""What every command has: its bench, options, JSON or text, a sentence and an exit code where it fails."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.session import Bench

HOME_HELP = "Where the bench lives; WORKBENCH_HOME, else ~/imaging-workbench, when left out."
Home = Annotated[Path | None, typer.Option("--home", metavar="DIR", help=HOME_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
WHERE_HELP = "An expression over attributes: \"SliceThickness <= 1.5 and Modality == 'CT'\"."
Where = Annotated[str | None, typer.Option("--where", metavar="EXPRESSION", help=WHERE_HELP)]

GOES_ON = "what was done is kept, and the same command goes on from there"
GOING_ON = frozenset({"index", "ingest", "run", "scrub", "send", "deliver", "fetch", "harvest"})
"""Commands that begin where they were stopped."""
STOPPED = 130
"""Exit code after Ctrl-C, as shells give it."""


@contextmanager
def opened(context: typer.Context, home: Path | None, **options: Any) -> "Iterator[Bench]":
    """Open the bench of a command; what goes wrong on it is a sentence and an exit code.

    Parameters
    ----------
    **options
        Settings that options of the command give; `None` where they do not.
    """
    from workbench.session import open as open_bench

    as_json = bool(context.params.get("as_json"))
    try:
        given = {name: value for name, value in options.items() if value is not None}
        with open_bench(home or context.obj, **given) as bench:
            yield bench
    except WorkbenchError as error:
        fail(str(error), as_json=as_json)
    except OSError as error:
        next_step = f"; mend that: {GOES_ON}" if context.info_name in GOING_ON else ""
        fail(in_words(error) + next_step, as_json=as_json)
    except KeyboardInterrupt:
        kept = f"; {GOES_ON}" if context.info_name in GOING_ON else ""
        fail(f"stopped{kept}", as_json=as_json, code=STOPPED)


def in_words(error: OSError) -> str:
    """Return what the system says, and of which file."""
    if error.strerror is None:
        return str(error)
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror.lower()}"


def fail(text: str, *, as_json: bool, code: int = 1) -> None:
    """Say what is wrong, and end."""
    from workbench.tables import plain

    if as_json:
        typer.echo(json.dumps({"error": text}))
    typer.echo(f"workbench: {plain(text)}", err=True)
    raise typer.Exit(code)


def show(data: Any, text: str, *, as_json: bool, succeeded: bool = True) -> None:
    """Print what was done, for a person or a machine."""
    typer.echo(json.dumps(data, indent=1) if as_json else text)
    if not succeeded:
        raise typer.Exit(1)
