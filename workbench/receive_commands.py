"""The command `workbench receive`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands import AsJson, Home, opened

if TYPE_CHECKING:
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
    share_port: Annotated[bool, typer.Option("--share-port", hidden=True)] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Receive objects by DICOM (C-STORE) until Ctrl-C or SIGTERM; an answered success is durable.

    Nodes of workbench.toml may send, from their own address or with their own certificate, and nobody else.
    What is here already is not stored twice; other bytes under a known UID are kept beside; what cannot be
    read is kept in quarantine. With --json every event is a line of JSON.

    Example: workbench receive --port 11112 --workers 2
    """
    if metrics is not None and workers > 1:
        raise typer.BadParameter("--metrics counts one process; leave --workers out")
    with opened(context, home, ae_title=ae_title, receive_host=host, receive_port=port) as bench:
        from dataclasses import replace

        from workbench.pacs.journal import Journal
        from workbench.pacs.serving import ordered, serve_here, serve_with

        settings = bench.settings
        order = ordered(settings, anyone_here=anyone_here)
        journal = Journal(sys.stdout if as_json else None)
        ready = _nothing if share_port else (_in_json if as_json else _in_words)
        if workers == 1:
            shared = replace(order, address=replace(order.address, share_port=share_port))
            serve_here(settings, shared, journal, ready, metrics)
            return
        command = [sys.executable, "-m", "workbench", "receive", "--home", str(settings.home)]
        command += ["--host", order.address.host, "--ae", order.address.ae_title, "--share-port"]
        command += ["--anyone-here"] * anyone_here + ["--json"] * as_json
        serve_with(workers, command, order.address, journal, ready)


def _nothing(_address: "Address") -> None: ...


def _in_json(address: "Address") -> None:
    listening = {"ae_title": address.ae_title, "host": address.host, "port": address.port}
    typer.echo(json.dumps({"event": "listening", **listening}))
    sys.stdout.flush()


def _in_words(address: "Address") -> None:
    typer.echo(f" {address.ae_title} receives on {address.host}:{address.port}; Ctrl-C ends it")
    sys.stdout.flush()
