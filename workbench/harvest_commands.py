"""The commands that get many studies from a node: harvest, prefetch."""

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.commands import AsJson, Home, opened, show


def harvest(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What this harvest is called.")],
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MATCH]...", help="StudyDate=20260101-20260131 Modality=CT, day by day."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--table", metavar="FILE", help="Accession numbers or UIDs: .csv, .xlsx, .parquet."),
    ] = None,
    node: Annotated[
        str | None, typer.Option("--node", metavar="NODE", help="Of workbench.toml; the only one, if so.")
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option("--match", metavar="COLUMN=MEANING", help="Auftrag=accession_number; several times."),
    ] = None,
    hours: Annotated[
        str | None, typer.Option("--hours", metavar="20:00-06:00", help="When the node may be asked.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="MB/S", help="Megabytes a second, on average.")
    ] = None,
    ingest: Annotated[
        bool | None, typer.Option("--ingest/--no-ingest", help="Write pixel data into Zarr, too.")
    ] = None,
    answers: Annotated[
        int | None,
        typer.Option("--answers", min=1, help="Studies that the node tells of at most, without a word."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait outside the hours, or end there.")
    ] = True,
    report: Annotated[
        bool, typer.Option("--report", help="What is missing, and why; nobody is asked anything.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Get a batch of studies from a node; the same command goes on, and asks for what is missing alone.

    Hours, rate and the like are kept with the harvest. It exits with 0 when all that was expected is here.

    Example: workbench harvest lung --table accession.csv --node PACS --hours 20:00-06:00 --rate 20
    """
    with opened(context, home) as bench:
        if report:
            if query or table:
                raise typer.BadParameter("--report takes the name alone")
            found = bench.harvest_report(name)
        else:
            matching: dict[str, Any] = dict(
                _pair(each, "StudyDate=20260101-20260131") for each in query or ()
            )
            found = bench.harvest(
                name,
                table,
                node=node,
                match=dict(_pair(each, "Auftrag=accession_number") for each in match or ()) or None,
                hours=hours,
                rate=rate,
                ingest=ingest,
                answers=answers,
                wait=wait,
                quiet=as_json,
                **matching,
            )
        rows = f"\n{found.as_text()}" if report or found.amiss else ""
        show(found.as_json(), found.line() + rows, as_json=as_json, succeeded=found.is_complete)


def prefetch(
    context: typer.Context,
    uids: Annotated[list[str], typer.Argument(metavar="UID...", help="Of studies or series.")],
    priors: Annotated[int, typer.Option("--priors", min=1, help="How many of each study at most.")] = 2,
    node: Annotated[
        str | None,
        typer.Option("--node", metavar="NODE", help="Of workbench.toml; its own or the only one."),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Get earlier studies of the same patients, those of the same modality and body part first.

    Example: workbench prefetch 1.2.840.1 --priors 3
    """
    with opened(context, home) as bench:
        found = bench.prefetch(uids, priors=priors, node=node, quiet=as_json)
        rows = f"\n{found.as_text()}" if found else ""
        show(found.as_json(), found.line() + rows, as_json=as_json, succeeded=found.is_complete)


def _pair(text: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"it is NAME=VALUE, such as {example}")
    return name, value


COMMANDS = (harvest, prefetch)
