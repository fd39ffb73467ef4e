"""The commands of what is received: routes, route, events, received, quarantine."""

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands import AsJson, Home, opened, show

if TYPE_CHECKING:
    from workbench.routed import Did, Explained, RouteTable


def routes(
    context: typer.Context,
    test: Annotated[
        str | None,
        typer.Option(
            "--test", metavar="FILE|UID", help="Say which rules fit this object and why; nothing is done."
        ),
    ] = None,
    sent_by: Annotated[
        str,
        typer.Option("--from", metavar="NODE", help="With --test: who would send it, a node or AE title."),
    ] = "",
    called: Annotated[
        str, typer.Option("--called", metavar="TITLE", help="With --test: AE title that would be called.")
    ] = "",
    log: Annotated[
        bool, typer.Option("--log", help="The last 200 things that rules did, with reasons.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the rules for what is received and how often they did what, or explain what they would do.

    Example: workbench routes --test image.dcm --from SCANNER
    """
    with opened(context, home) as bench:
        found: Explained | Did | RouteTable
        if test:
            found = bench.explain_routes(test, sent_by=sent_by, called=called)
        else:
            found = bench.routings() if log else bench.routes
    show(found.as_json(), found.as_text(), as_json=as_json)


def route(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Do what is due and end; for a timer.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Ask once more about what was refused, then as --once.")
    ] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
    ae_title: Annotated[str | None, typer.Option("--ae", metavar="TITLE", help="AE title.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Carry out the rules for what is received until Ctrl-C or SIGTERM, and deliver what they say.

    `workbench receive` has one such process beside it; this command is for a bench that receives elsewhere,
    or with --once for a timer. With --json every event is a line of JSON.

    Example: workbench route --once
    """
    if once or again:
        with opened(context, home, ae_title=ae_title) as bench:
            done = bench.route(again=again)
        outcomes = [str(each.outcome) for each in done.effects]
        said = {each: outcomes.count(each) for each in sorted(set(outcomes))}
        words = ", ".join(f"{count:,} {each}" for each, count in said.items()) or "nothing to do"
        text = f" {done.asked:,} objects asked about: {words}; {done.stable:,} series stable"
        show({"asked": done.asked, "stable": done.stable, **said}, text, as_json=as_json)
        return
    with opened(context, home, ae_title=ae_title) as bench:
        from workbench.pacs.journal import Journal
        from workbench.routing.work import alone, route_on, wait_for_turn

        end = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: end.set())
        journal = Journal(sys.stdout if as_json else None)
        settings, catalog = bench.settings, bench.catalog
        if with_parent:
            threading.Thread(target=_wait_for_parent, args=(end,), daemon=True).start()
            wait_for_turn(settings, end, lambda: route_on(settings, catalog, end, journal))
            return
        with alone(settings):
            journal.say("routing")
            route_on(settings, catalog, end, journal)


def _wait_for_parent(end: threading.Event) -> None:
    sys.stdin.buffer.read()
    end.set()


def events(
    context: typer.Context,
    uid: Annotated[
        str | None, typer.Argument(metavar="[UID]", help="Series Instance UID; every series when left out.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most, the last first.")] = 200,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List when series were stable, and by which rule.

    Example: workbench events
    """
    with opened(context, home) as bench:
        found = bench.events(uid, limit=limit)
    show(found.as_json(), found.as_text(), as_json=as_json)


def received(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(metavar="UID", help="SOP Instance UID.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List every time an instance came: from whom, when, and what became of it.

    Example: workbench received 1.2.840.113619.2.1
    """
    with opened(context, home) as bench:
        found = bench.received(uid)
    show(found.as_json(), found.as_text(), as_json=as_json)


def quarantine(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most, the last first.")] = 200,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List what was received and refused: when, from whom, what it was said to be, why, and where it lies.

    Example: workbench quarantine
    """
    with opened(context, home) as bench:
        found = bench.quarantine(limit=limit)
    show(found.as_json(), found.as_text(), as_json=as_json)


def command_beside(home: Path, ae_title: str, *, as_json: bool) -> list[str]:
    """Return the command that runs beside a receiver."""
    command = [sys.executable, "-m", "workbench", "route", "--with-parent", "--home", str(home)]
    return [*command, "--ae", ae_title, *["--json"] * as_json]


COMMANDS = (routes, route, events, received, quarantine)
