"""The commands of cohorts: freeze, list, show, diff, export, import."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from workbench.commands import AsJson, Home, Where, opened, show

app = typer.Typer(
    help="Freeze a selection of series with its approval, and see what changed since.\n\n"
    'Example: workbench cohort freeze lung-2026 Modality=CT --approval "EK 2026/123"',
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the cohort.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]


@app.command()
def freeze(
    context: typer.Context,
    name: Name,
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUERY]...", help="Words to find, or matches, as `workbench series` has."),
    ] = None,
    where: Where = None,
    approval: Annotated[
        str, typer.Option("--approval", metavar="NUMBER", help="Of the ethics committee or a consent.")
    ] = "",
    expires: Annotated[
        datetime | None,
        typer.Option("--expires", metavar="DATE", formats=["%Y-%m-%d"], help="Last day of the approval."),
    ] = None,
    headers_only: Annotated[
        bool,
        typer.Option("--headers-only", help="Freeze by headers and sizes, without reading the whole files."),
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Freeze what a question finds now, for good.

    Example: workbench cohort freeze lung-2026 Modality=CT --approval "EK 2026/123" --expires 2027-12-31
    """
    with opened(context, home) as bench:
        found = bench.find(*(query or ()), where=where)
        last_day = expires.date() if expires else None
        cohort = bench.freeze(
            name, found, approval=approval, expires=last_day, whole_files=not headers_only, quiet=as_json
        )
        show(cohort.as_json(), cohort.as_text(), as_json=as_json)


@app.command("list")
def list_(context: typer.Context, home: Home = None, as_json: AsJson = False) -> None:
    """List the cohorts.

    Example: workbench cohort list
    """
    from catalog.records import as_dict

    with opened(context, home) as bench:
        found = bench.cohorts
    show([as_dict(each) for each in found], found.as_text(), as_json=as_json)


@app.command("show")
def show_(context: typer.Context, name: Name, home: Home = None, as_json: AsJson = False) -> None:
    """Show a cohort and its series; also after its approval has ended.

    Example: workbench cohort show lung-2026
    """
    with opened(context, home) as bench:
        cohort = bench.cohort(name)
        show(cohort.as_json(), cohort.as_text(), as_json=as_json)


@app.command()
def diff(
    context: typer.Context,
    name: Name,
    whole: Annotated[
        bool, typer.Option("--whole", help="Read every file again, also those that look as they were.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say what has changed since, and by what it was compared: whole files, or headers and sizes alone.

    Example: workbench cohort diff lung-2026
    """
    with opened(context, home) as bench:
        found = bench.cohort(name).diff(whole=whole, quiet=as_json)
    text = found.line() + (f"\n{found.as_text()}" if found else "")
    show(found.as_json(), text, as_json=as_json)


@app.command()
def export(
    context: typer.Context,
    name: Name,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", metavar="FILE", help="JSON that another bench imports.")
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", metavar="FILE", help="One row an instance, for DuckDB.")
    ] = None,
    overwrite: Overwrite = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write a cohort as a manifest for another bench, or as Parquet; neither has names or IDs of patients.

    Example: workbench cohort export lung-2026 --manifest lung-2026.json
    """
    if manifest is None and parquet is None:
        raise typer.BadParameter("give --manifest FILE or --parquet FILE")
    with opened(context, home) as bench:
        cohort = bench.cohort(name)
        written = []
        if manifest is not None:
            written.append(cohort.to_manifest(manifest, overwrite=overwrite))
        if parquet is not None:
            written.append(cohort.to_parquet(parquet, overwrite=overwrite))
    text = "\n".join(f" wrote {path}" for path in written)
    show({"cohort": name, "files": [str(path) for path in written]}, text, as_json=as_json)


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A manifest that a bench exported.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Another name than it has there.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Take in the cohort of another bench, and say which of its instances are missing here or different.

    Example: workbench cohort import lung-2026.json
    """
    with opened(context, home) as bench:
        found = bench.import_cohort(file, name=name).resolve(quiet=as_json)
    text = found.line() + (f"\n{found.as_text()}" if found else "")
    show(found.as_json(), text, as_json=as_json)
