"""The command line: every command has `--json` for machines and exits with 0 only on success."""

import json
import os
import shutil
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from workbench import (
    asking_commands,
    cohort_commands,
    correction_commands,
    harvest_commands,
    receive_commands,
    route_commands,
    sending_commands,
)
from workbench.commands import STOPPED, AsJson, Home, Where, in_words
from workbench.commands import fail as _fail
from workbench.commands import opened as _bench
from workbench.commands import show as _show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from catalog.records import SeriesRecord
    from workbench.reports import Indexed, IndexedElsewhere
    from workbench.session import Bench

app = typer.Typer(
    name="workbench",
    help="Imaging Workbench: DICOM archive, catalog, Zarr arrays, Dask steps, results back to the PACS.\n\n"
    "For research; not a medical device.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

STEP_HELP = "threshold, package.module:function, or file.py:function."
Uids = Annotated[list[str] | None, typer.Argument(metavar="[UID]...", help="Series Instance UIDs.")]
All = Annotated[bool, typer.Option("--all", help="Every series of the catalog.")]

OFFLINE = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
"""Page configuration of JupyterLab: it asks nobody outside for news or updates."""


@app.callback()
def _options(context: typer.Context, home: Home = None) -> None:
    context.obj = home


@app.command()
def demo(context: typer.Context, home: Home = None, as_json: AsJson = False) -> None:
    """Do the whole job on sample data and an embedded PACS, with a receipt at the end.

    Example: workbench demo --home demo
    """
    from workbench.demo import run_demo

    with _bench(context, home) as bench:
        outcome = run_demo(bench, say=_nothing if as_json else typer.echo)
    if as_json:
        typer.echo(json.dumps(outcome.as_json(), indent=1))
    if not outcome.succeeded:
        raise typer.Exit(1)
    on_terminal = not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    if on_terminal and _lab_is_there() and typer.confirm("\nOpen JupyterLab on the tour now?", default=True):
        _open_lab(outcome.home)


@app.command()
def index(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Folders, files, a DICOMDIR, ZIP or TAR archives, s3://bucket/prefix, https://host/file; "
            "idc; pacs://NODE with what it shall match, such as StudyDate=20260101-.",
        ),
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="The last report again, with every reason.")] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes that read headers; every core when left out."),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Read an archive into the catalog; ZIP and TAR archives are read as folders, where they lie.

    A DICOMDIR that is given itself stands for the files it names. Of objects in buckets and files of web
    servers headers are read by ranges; AWS_… variables of the environment say who asks, and where.

    `idc` records every series of the NCI Imaging Data Commons with the address of its bucket,
    pacs://NODE those that a node of workbench.toml finds; `workbench fetch` gets their instances.

    Example: workbench index /archive/2026
    """
    if last == bool(paths):
        raise typer.BadParameter("give the folders to read, or --last for the last report")
    from workbench.pacs.node import node_in

    given = paths or []
    with _bench(context, home) as bench:
        if last:
            report: Indexed | IndexedElsewhere = bench.last_index()
        elif node_in(given[0]) is not None:
            matching: dict[str, Any] = dict(map(_match, given[1:]))
            report = bench.index(given[0], quiet=as_json, **matching)
        else:
            report = bench.index(*given, workers=workers, quiet=as_json)
    _show(report.as_json(), report.line() + (report.reasons() if last else ""), as_json=as_json)


@app.command()
def fetch(context: typer.Context, uids: Uids = None, home: Home = None, as_json: AsJson = False) -> None:
    """Get the instances of series that are known from elsewhere: from a bucket, or from a node.

    Example: workbench fetch 1.3.6.1.4.1.14519.5.2.1.1
    """
    if not uids:
        raise typer.BadParameter("give Series Instance UIDs; workbench series shows which are elsewhere")
    with _bench(context, home) as bench:
        report = bench.fetch(uids, quiet=as_json)
    _show(report.as_json(), report.line(), as_json=as_json, succeeded=not (report.rejected or report.short))


@app.command()
def series(
    context: typer.Context,
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUERY]...",
            help="Words to find, or matches like PatientName=M*; Modality=CT Modality=MR finds both.",
        ),
    ] = None,
    where: Where = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--contact-sheet", metavar="FILE", help="Draw a picture of each into FILE (.png, .html)."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="How many at most.")] = None,
    page: Annotated[
        int, typer.Option("--page", help="Which so many of them; 200 on a contact sheet without a limit.")
    ] = 1,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List series, or draw them as a page of small pictures.

    Example: workbench series Modality=CT --where "SliceThickness <= 1.5"
    """
    from catalog.records import as_dict

    with _bench(context, home) as bench:
        found = bench.find(*(query or ()), where=where, limit=limit, page=page if limit else 1)
        if sheet is not None:
            drawn = found.contact_sheet(page=1 if limit else page, quiet=as_json)
            drawn.save(sheet)
            said = {"contact_sheet": str(sheet), **drawn.as_json()}
            _show(said, f"{drawn}\n\n wrote {sheet}", as_json=as_json)
            return
    _show([as_dict(each) for each in found], found.as_text(), as_json=as_json)


@app.command()
def facets(
    context: typer.Context,
    attributes: Annotated[
        list[str], typer.Argument(metavar="ATTRIBUTE...", help="Of patient, study or series: Modality.")
    ],
    where: Where = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Count the series that have each value of attributes, the most frequent first.

    Example: workbench facets Modality BodyPartExamined
    """
    from catalog.records import as_dict

    with _bench(context, home) as bench:
        found = bench.facets(*attributes, where=where)
    _show([as_dict(each) for each in found], found.as_text(), as_json=as_json)


@app.command()
def findings(
    context: typer.Context,
    uids: Uids = None,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="Only these, such as missing_slices or tilt.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List what is wrong with series: deviations, conflicts, missing slices, unequal spacing, tilt.

    Example: workbench findings --kind missing_slices
    """
    with _bench(context, home) as bench:
        found = bench.findings(uids or None, kind=kind)
    _show(found.as_json(), found.as_text(), as_json=as_json)


@app.command()
def documents(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORDS]...",
            help="What they say: words in any form, leber*, *metastase, '\"one after\"'.",
        ),
    ] = None,
    studies: Annotated[
        list[str] | None, typer.Option("--study", metavar="UID", help="Only of this study; several times.")
    ] = None,
    revisions: Annotated[bool, typer.Option("--revisions", help="What was superseded, too.")] = False,
    text: Annotated[bool, typer.Option("--text", help="The whole text of each.")] = False,
    add: Annotated[
        Path | None,
        typer.Option("--add", metavar="FILE", help="Take in a report of text, PDF or CDA for --study."),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Read the text of every document again.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", help="How many at most, the newest first.")] = 200,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Find reports by what they say: PDF, CDA, structured reports, text; of revisions the valid one.

    Example: workbench documents "*metastase"
    """
    from workbench.reports import documents_line

    if add is not None and (words or not studies or len(studies) != 1):
        raise typer.BadParameter("--add FILE wants --study UID, and no words")
    with _bench(context, home) as bench:
        if refresh:
            read = bench.refresh_documents(quiet=as_json)
            if not as_json:
                typer.echo(documents_line(read))
        if add is not None and studies:
            found = bench.add_report(studies[0], add)
        else:
            found = bench.documents(" ".join(words or ()) or None, studies, revisions=revisions, limit=limit)
        texts = [each.text for each in found] if text else []
    rows = found.as_json()
    if text:
        rows = [row | {"text": said} for row, said in zip(rows, texts, strict=True)]
    shown = "\n\n".join([found.as_text(), *map(_printable, texts)])
    _show(rows, shown, as_json=as_json)


@app.command()
def ingest(
    context: typer.Context,
    uids: Uids = None,
    every: All = False,
    video: Annotated[
        Literal["chunks", "left"] | None,
        typer.Option("--video", help="Store the frames of videos as chunks, or leave videos as they are."),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Write arrays anew that are there: `verify` found them damaged.")
    ] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Get series first that are known only from elsewhere.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write pixel data into Zarr.

    Example: workbench ingest --all
    """
    with _bench(context, home) as bench:
        chosen = _chosen(uids, every=every)
        report = bench.ingest(chosen, video=video, anew=anew, fetch=fetch, quiet=as_json)
    _show(
        report.as_json(),
        report.line() + report.reasons(),
        as_json=as_json,
        succeeded=every or not report.rejected,
    )


@app.command()
def verify(
    context: typer.Context, uids: Uids = None, every: All = False, home: Home = None, as_json: AsJson = False
) -> None:
    """Compare every frame of the archive with the stored array.

    Example: workbench verify --all
    """
    with _bench(context, home) as bench:
        report = bench.verify(_chosen(uids, every=every), quiet=as_json)
    text = report.line() + (f"\n{report.as_text()}" if report.mismatches else "")
    _show(report.as_json(), text, as_json=as_json, succeeded=not report.mismatches)


@app.command()
def scrub(
    context: typer.Context,
    uids: Uids = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", metavar="MB/S", help="Megabytes a second, on average over an array; 50 when left out."
        ),
    ] = None,
    hours: Annotated[float | None, typer.Option("--hours", help="Stop after so many hours.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Stop after so many files and arrays.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Read the archive and the arrays again, the oldest checked first, and report rot.

    Of everything, where no series is named. Nothing is altered or deleted.

    Example: workbench scrub --rate 20 --hours 5
    """
    with _bench(context, home) as bench:
        report = bench.scrub(uids or None, rate=rate, hours=hours, limit=limit, quiet=as_json)
    _show(report.as_json(), report.line() + report.reasons(), as_json=as_json, succeeded=report.succeeded)


@app.command()
def export(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(metavar="UID", help="Series Instance UID.")],
    nifti: Annotated[
        Path | None, typer.Option("--nifti", metavar="FILE", help="NIfTI file to write (.nii, .nii.gz).")
    ] = None,
    dicom: Annotated[
        Path | None, typer.Option("--dicom", metavar="FOLDER", help="Folder for the instances as DICOM.")
    ] = None,
    part: Annotated[int | None, typer.Option("--part", help="Which part of the series.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write a volume for other programs, or the instances of a series as DICOM files again.

    DICOM is made from the arrays alone, of all parts where none is named; the archive may be gone.

    Example: workbench export 1.2.840.113619.2.1 --nifti volume.nii.gz
    """
    if (nifti is None) == (dicom is None):
        raise typer.BadParameter("give --nifti FILE or --dicom FOLDER")
    with _bench(context, home) as bench:
        if dicom is not None:
            if overwrite:
                raise typer.BadParameter("--overwrite is for --nifti; DICOM files are never replaced")
            _export_dicom(bench, uid, dicom, part, as_json=as_json)
        elif nifti is not None:
            from pipelines.export import to_nifti

            to_nifti(bench.volume(uid, part), nifti, overwrite=overwrite)
            _show({"series_instance_uid": uid, "nifti": str(nifti)}, f" wrote {nifti}", as_json=as_json)


@app.command()
def run(
    context: typer.Context,
    step: Annotated[str, typer.Argument(metavar="STEP", help=STEP_HELP)],
    where: Where = None,
    cohort: Annotated[str | None, typer.Option("--cohort", metavar="NAME", help="A frozen cohort.")] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A keyword of the step."),
    ] = None,
    uids: Annotated[
        list[str] | None, typer.Option("--series", metavar="UID", help="Only these series.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Apply a step to series on Dask.

    Example: workbench run threshold --where "Modality == 'CT'" -p above=300
    """
    from workbench.selection import selected_series

    if cohort and (where or uids):
        raise typer.BadParameter("give --cohort NAME alone: what is frozen is run on as a whole")
    with _bench(context, home) as bench:
        selected: Sequence[SeriesRecord] = bench.cohort(cohort) if cohort else bench.series(where)
        if uids:
            named = {each.series_instance_uid for each in selected_series(bench.catalog, uids)}
            selected = bench.series(where, series_instance_uid=sorted(named))
        outcome = bench.run(step, selected, quiet=as_json, **dict(map(_parameter, parameters or ())))
        objects = f"\n{outcome.objects.as_text()}\n\n" if outcome.objects else ""
        measured = f"\n{outcome.measurements!r}\n\n" if outcome.measurements else ""
        text = f"{outcome!r}\n{objects}{measured}{outcome.line()}{outcome.reasons()}"
    _show(outcome.as_json(), text, as_json=as_json)
    if not outcome.succeeded:
        raise typer.Exit(1 if outcome.record.finished else STOPPED)


@app.command()
def experiment(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the experiment.")],
    table: Annotated[
        Path | None,
        typer.Option(
            "--table", metavar="FILE", help="Record this table under the name (.csv, .parquet, .xlsx)."
        ),
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option("--match", metavar="COLUMN=MEANING", help="What a column means: Tier-Nr=subject."),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Join a table of subjects, arms and time points to series, and say which visits are missing.

    Example: workbench experiment pig-liver --table animals.csv
    """
    pairs = [each.rpartition("=") for each in match or ()]
    if not all(column and meaning for column, _, meaning in pairs):
        raise typer.BadParameter("--match takes COLUMN=MEANING, such as Tier-Nr=subject")
    with _bench(context, home) as bench:
        found = bench.experiment(name, table, match={column: meaning for column, _, meaning in pairs})
        problems = f"\n\n{found.problems.as_text()}" if found.problems else ""
        missing = f"\n\n{found.missing.as_text()}" if found.missing else ""
        _show(found.as_json(), found.as_text() + missing + problems, as_json=as_json)


@app.command()
def doctor(
    context: typer.Context,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Remove what crashes left behind and no row of the catalog names."),
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say what is installed, reachable and writable, and how to mend what is not.

    Example: workbench doctor --repair
    """
    from datetime import UTC, datetime

    from catalog.home import default_home
    from workbench.doctor import examine

    where = (home or context.obj or default_home()).expanduser().absolute()
    diagnosis = examine(where, now=datetime.now(UTC), repair=repair)
    _show(diagnosis.as_json(), diagnosis.lines(), as_json=as_json, succeeded=diagnosis.healthy)


@app.command()
def lab(context: typer.Context, home: Home = None) -> None:
    """Open JupyterLab on this bench.

    Example: workbench lab --home demo
    """
    if not _lab_is_there():
        _fail(
            "JupyterLab is not installed here; install it with: pip install 'imaging-workbench[lab]'",
            as_json=False,
        )
    with _bench(context, home) as bench:
        folder = bench.settings.home
    _open_lab(folder)


def _export_dicom(bench: "Bench", uid: str, folder: Path, part: int | None, *, as_json: bool) -> None:
    from catalog.arrays import one_part
    from pipelines.encode.originals import write_originals
    from workbench.reports import Exported

    arrays = bench.arrays(uid) or bench.ingest(uid, quiet=as_json)  # the archive of the former may be gone
    wanted = list(arrays) if part is None or not arrays else [one_part(arrays, part)]
    exported = Exported(write_originals(wanted, folder))
    text = exported.line() + exported.reasons()
    _show(exported.as_json(), text, as_json=as_json, succeeded=not exported.originals.rejected)


def _printable(text: str) -> str:
    from workbench.tables import plain

    return "\n".join(plain(each) for each in text.splitlines())


def _nothing(_text: str) -> None: ...


def _chosen(uids: list[str] | None, *, every: bool) -> list[str] | None:
    if every == bool(uids):
        raise typer.BadParameter("give Series Instance UIDs, or --all")
    return None if every else uids


def _match(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"a node matches NAME=VALUE, such as StudyDate=20260101-, not {text!r}")
    return name, value


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise typer.BadParameter(f"-p takes name=value, not {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _lab_is_there() -> bool:
    from importlib.util import find_spec

    return find_spec("jupyterlab") is not None


def _open_lab(home: Path) -> None:
    source, folder = Path(__file__).resolve().parents[1] / "notebooks", home / "notebooks"
    folder.mkdir(exist_ok=True)
    for notebook in source.glob("*.ipynb"):
        if not (folder / notebook.name).exists():  # a copy to write on; the one in the source stays clean
            shutil.copy(notebook, folder)
    (configuration := home / "jupyter" / "labconfig").mkdir(parents=True, exist_ok=True)
    (configuration / "page_config.json").write_text(json.dumps(OFFLINE))
    os.environ |= {"WORKBENCH_HOME": str(home), "JUPYTER_CONFIG_PATH": str(configuration.parent)}
    arguments = ["-m", "jupyterlab", f"--notebook-dir={folder}"]
    if os.geteuid() == 0:
        arguments.append("--allow-root")  # it listens on loopback, behind a token
    first = sorted(folder.glob("*.ipynb"))[:1]
    os.execv(sys.executable, [sys.executable, *arguments, *map(str, first)])


app.add_typer(cohort_commands.app, name="cohort")
for _command in (
    *correction_commands.COMMANDS,
    *asking_commands.COMMANDS,
    *sending_commands.COMMANDS,
    *harvest_commands.COMMANDS,
    *route_commands.COMMANDS,
):
    app.command()(_command)
app.command()(receive_commands.receive)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name the terminal's encoding lacks is no end of a command
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except OSError as error:  # a full disk behind `> file`; typer ends quietly where a pipe is closed
        sys.exit(f"workbench: the output cannot be written: {in_words(error)}")
