"""The commands of corrections: delete, restore, merge, move, correct, undo, and their log."""

from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands import AsJson, Home, opened, show

if TYPE_CHECKING:
    from workbench.corrections import Correction

Uid = Annotated[str, typer.Argument(metavar="UID", help="Series or Study Instance UID.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the log.")]


def delete(context: typer.Context, uid: Uid, why: Why, home: Home = None, as_json: AsJson = False) -> None:
    """Leave a series or study out of every question; its files and arrays stay.

    Example: workbench delete 1.2.840.1 --why "consent withdrawn"
    """
    with opened(context, home) as bench:
        _said(bench.delete(uid, why=why), as_json=as_json)


def restore(context: typer.Context, uid: Uid, why: Why, home: Home = None, as_json: AsJson = False) -> None:
    """Bring a deleted series or study back.

    Example: workbench restore 1.2.840.1 --why "deleted by mistake"
    """
    with opened(context, home) as bench:
        _said(bench.restore(uid, why=why), as_json=as_json)


def corrections(
    context: typer.Context,
    undo: Annotated[int | None, typer.Option("--undo", metavar="NO.", help="Undo this one.")] = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason to undo it.")] = "",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List every correction: what, before, after, who, why, when; or undo one.

    Example: workbench corrections --undo 7 --why "they are two people"
    """
    with opened(context, home) as bench:
        if undo is not None:
            _said(bench.undo(undo, why=why), as_json=as_json)
            return
        found = bench.corrections
    show(found.as_json(), found.as_text(), as_json=as_json)


def _said(made: "Correction", *, as_json: bool) -> None:
    from catalog.records import as_dict

    subject = f" {made.subject}" if made.subject else ""
    text = f" {made.kind}{subject} · correction {made.number} by {made.who}"
    show(as_dict(made), text, as_json=as_json)
