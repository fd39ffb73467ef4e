"""The commands of corrections: delete, restore, merge, move, correct, undo, and their log."""

from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands import AsJson, Home, opened, show

if TYPE_CHECKING:
    from workbench.corrections import Correction

Uid = Annotated[str, typer.Argument(metavar="UID", help="Series or Study Instance UID.")]
PATIENT_HELP = "Patient ID; where several have it, a Study Instance UID of the one that is meant."
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


def merge(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="PATIENT", help=PATIENT_HELP)],
    into: Annotated[str, typer.Argument(metavar="INTO", help="The patient that remains.")],
    why: Why,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Put every study of one patient under another, those that arrive later too; files stay.

    Example: workbench merge PAT-7 PAT-1 --why "one person, registered twice"
    """
    with opened(context, home) as bench:
        _said(bench.merge_patients(source, into, why=why), as_json=as_json)


def move(
    context: typer.Context,
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Study Instance UID.")],
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help=PATIENT_HELP)],
    why: Why,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Put one study under another patient, what arrives of it later too; files stay.

    Example: workbench move 1.2.840.1 PAT-1 --why "wrong patient chosen at the scanner"
    """
    with opened(context, home) as bench:
        _said(bench.move_study(study, patient, why=why), as_json=as_json)


def correct(
    context: typer.Context,
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help=PATIENT_HELP)],
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="What it is instead.")],
    why: Why,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Give a patient another ID, name, birth date, sex or species; files stay.

    Example: workbench correct PAT-1 PatientBirthDate=19800131 --why "typing error"
    """
    said = dict(map(_value, values))
    with opened(context, home) as bench:
        _said(bench.correct(patient, why=why, **said), as_json=as_json)


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


def _value(text: str) -> tuple[str, str]:
    """Column and value of NAME=VALUE, the name as a keyword or a column."""
    from catalog.attributes import BY_KEYWORD
    from catalog.corrections import CORRECTABLE

    name, equals, value = text.partition("=")
    column = BY_KEYWORD[name].column if name in BY_KEYWORD else name
    if not equals or column not in CORRECTABLE:
        allowed = ", ".join(each for each in BY_KEYWORD if BY_KEYWORD[each].column in CORRECTABLE)
        raise typer.BadParameter(f"NAME=VALUE gives one of {allowed}")  # the text may be a patient's
    return column, value


COMMANDS = (delete, restore, merge, move, correct, corrections)
"""In the order of the help."""


def _said(made: "Correction", *, as_json: bool) -> None:
    from catalog.records import as_dict

    subject = f" {made.subject}" if made.subject else ""
    text = f" {made.kind}{subject} · correction {made.number} by {made.who}"
    show(as_dict(made), text, as_json=as_json)
