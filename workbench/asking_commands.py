"""The commands that ask a node: find, worklist."""

from typing import Annotated, Any

import typer

from workbench.commands import AsJson, Home, opened, show
from workbench.pacs.node import ANSWERS

Node = Annotated[str, typer.Argument(metavar="NODE", help="A node of workbench.toml.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]


def find(
    context: typer.Context,
    node: Node,
    level: Annotated[str, typer.Argument(metavar="LEVEL", help="patient, study, series or instance.")],
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MATCH]...", help="PatientID=7 StudyDate=20260101- Modality=CT Modality=MR."),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            "--root", metavar="ROOT", help="Information model: study or patient; what it offers, else."
        ),
    ] = None,
    fuzzy: Annotated[bool, typer.Option("--fuzzy", help="Names that are alike (DICOMweb).")] = False,
    limit: Limit = ANSWERS,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Ask a node what it has; nothing is recorded or fetched.

    A value, a wildcard, a range of dates, UIDs with backslashes between; an attribute that is given several
    times matches any of the values, one of a sequence's item is written Sequence.Attribute=VALUE.

    Example: workbench find PACS study PatientID=7 StudyDate=20260101-
    """
    with opened(context, home) as bench:
        found = bench.node(node).find(level, root=root, fuzzy=fuzzy, limit=limit, **_matching(query))
    show({found.noun: found.as_json(), "note": found.note}, found.as_text(), as_json=as_json)


def worklist(
    context: typer.Context,
    node: Node,
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MATCH]...", help="Modality=CT ScheduledProcedureStepStartDate=20260131."),
    ] = None,
    limit: Limit = ANSWERS,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Ask a node what is scheduled (Modality Worklist).

    Example: workbench worklist RIS Modality=CT ScheduledProcedureStepStartDate=20260131
    """
    with opened(context, home) as bench:
        found = bench.node(node).worklist(limit=limit, **_matching(query))
    show({found.noun: found.as_json(), "note": found.note}, found.as_text(), as_json=as_json)


def _matching(words: list[str] | None) -> dict[str, Any]:
    """Keys of a question; what is given several times is a list, what has a dot is inside a sequence."""
    matching: dict[str, Any] = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        if not equals:
            raise typer.BadParameter(f"it is NAME=VALUE, such as StudyDate=20260101-, not {word!r}")
        inside, (*sequences, name) = matching, name.split(".")
        for each in sequences:
            inside = inside.setdefault(each, {})
            if not isinstance(inside, dict):
                raise typer.BadParameter(f"{each} is a sequence or is matched itself, not both")
        before = inside.get(name)
        inside[name] = (
            value if before is None else [*(before if isinstance(before, list) else [before]), value]
        )
    return matching


COMMANDS = (find, worklist)
