"""The command `workbench receive`."""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands import AsJson, Home, opened
from workbench.route_commands import command_beside

if TYPE_CHECKING:
    from workbench.pacs.beside import Beside
    from workbench.pacs.dimse_node import DimseNode
    from workbench.pacs.receiver import Address


def receive(
    context: typer.Context,
    port: Annotated[int | None, typer.Option("--port", help="Where to listen; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address of this machine to listen on.")] = None,
    ae_title: Annotated[str | None, typer.Option("--ae", metavar="TITLE", help="AE title.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that share the port.")] = 1,
    anyone_here: Annotated[
        bool, typer.Option("--anyone-here", help="Every program of this machine may send, unnamed.")
    ] = False,
    metrics: Annotated[
        Path | None,
        typer.Option("--metrics", metavar="FILE", help="Counts for Prometheus's textfile collector."),
    ] = None,
    routing: Annotated[
        bool, typer.Option("--routing/--no-routing", help="Carry out the rules [[routes]] beside it.")
    ] = True,
    counts: Annotated[int | None, typer.Option("--counts", hidden=True)] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Receive objects by DICOM (C-STORE) until Ctrl-C or SIGTERM; an answered success is durable.

    Nodes of workbench.toml may send, from their own address or with their own certificate, and nobody else.
    What is here already is not stored twice; other bytes under a known UID are kept beside; what cannot be
    read is kept in quarantine. What else a node may ask stands in its table: may = ["store", "find",
    "commit", "retrieve"], for C-FIND, storage commitment, C-GET and C-MOVE. A process beside it carries out
    the rules [[routes]] and delivers what they say (`workbench route`). With --json every event is a line of
    JSON.

    --metrics FILE has the counts of all processes, the outbox by node and state, free disk and what is not
    settled yet, every five seconds anew.

    Example: workbench receive --port 11112 --workers 2
    """
    with opened(context, home, ae_title=ae_title, receive_host=host, receive_port=port) as bench:
        from dataclasses import replace

        from workbench.pacs.beside import Beside
        from workbench.pacs.journal import Journal
        from workbench.pacs.serving import ordered, serve_here, serve_with
        from workbench.pacs.tallies import Tally

        settings = bench.settings
        journal = Journal(sys.stdout if as_json else None, Tally(counts))

        def tell(node: "DimseNode", words: str) -> None:
            if workers > 1:  # each of them tells of what it knows
                return
            journal.say(f"host {'unknown' if words else 'found'}", node=node.name, host=node.host)
            if not as_json:
                typer.echo(f" {_said_of_host(node, words)}", err=True)

        order = ordered(settings, anyone_here=anyone_here, tell=tell)
        is_one_of_several = counts is not None
        ready = _nothing if is_one_of_several else (_in_json if as_json else _in_words)
        router: AbstractContextManager[Beside | None] = nullcontext()
        if routing and not is_one_of_several:
            router = Beside(command_beside(settings.home, settings.ae_title, as_json=as_json), journal)
        if workers == 1:
            shared = replace(order, address=replace(order.address, share_port=is_one_of_several))
            with router as beside:
                serve_here(settings, shared, journal, ready, metrics, ending=_ending(beside))
            return
        command = [sys.executable, "-m", "workbench", "receive", "--home", str(settings.home)]
        command += ["--host", order.address.host, "--ae", order.address.ae_title]
        command += ["--anyone-here"] * anyone_here + ["--json"] * as_json
        with router as beside:
            ending = _ending(beside)
            serve_with(workers, command, settings, order.address, journal, ready, metrics, ending=ending)


def _ending(beside: "Beside | None") -> Callable[[], None]:
    """What ends along with a receiver is told so at once: it takes its time, too."""
    return (lambda: None) if beside is None else beside.end


def _said_of_host(node: "DimseNode", words: str) -> str:
    if not words:
        return f"the host {node.host} of node {node.name} was found; it may call"
    return (
        f"the host {node.host} of node {node.name} cannot be looked up ({words}); "
        "it is looked up again when the node calls, which is refused until then"
    )


def _nothing(_address: "Address") -> None: ...


def _in_json(address: "Address") -> None:
    listening = {"ae_title": address.ae_title, "host": address.host, "port": address.port}
    typer.echo(json.dumps({"event": "listening", **listening}))
    sys.stdout.flush()


def _in_words(address: "Address") -> None:
    typer.echo(f" {address.ae_title} receives on {address.host}:{address.port}; Ctrl-C ends it")
    sys.stdout.flush()
