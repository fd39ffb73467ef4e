"""The commands of the outbox: send, deliver, outbox, withdraw."""

from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands import AsJson, Home, opened, show

if TYPE_CHECKING:
    from workbench.reports import Receipts

To = Annotated[str, typer.Option("--to", metavar="NODE", help="A node of workbench.toml.")]


def send(
    context: typer.Context,
    objects: Annotated[
        list[str], typer.Argument(metavar="OBJECT...", help="SOP Instance UIDs of a run, or files.")
    ],
    to: To,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Judge objects, put those that are fit into the outbox, and deliver them.

    Example: workbench send 2.25.1234 --to PACS
    """
    with opened(context, home) as bench:
        receipts = bench.send(objects, to=to, quiet=as_json)
    _show(receipts, as_json=as_json)


def deliver(
    context: typer.Context,
    nodes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NODE...]", help="Nodes of workbench.toml; all when left out."),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Deliver what is due in the outbox, to every node at the same time; for a timer, such as cron.

    Example: workbench deliver
    """
    with opened(context, home) as bench:
        receipts = bench.deliver(nodes or None)
    _show(receipts, as_json=as_json)


def outbox(
    context: typer.Context,
    node: Annotated[str | None, typer.Option("--to", metavar="NODE", help="Of this node alone.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List what was ever sent, how far it came, and what to do next.

    Example: workbench outbox --to PACS
    """
    with opened(context, home) as bench:
        receipts = bench.outbox(node)
    show(receipts.as_json(), f"{receipts.as_text()}{receipts.reasons()}", as_json=as_json)


def withdraw(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(metavar="UID", help="SOP Instance UID of what was sent.")],
    to: To,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="In your words, for the node's readers.")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="WORD", help="quality, safety, worklist or retention.")
    ] = "quality",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Take an object back: out of the outbox, or by a rejection note to the node (IHE IOCM).

    Example: workbench withdraw 2.25.1234 --to PACS --why "the mask covers the table"
    """
    with opened(context, home) as bench:
        receipts = bench.withdraw(uid, to=to, why=why, reason=reason)
    _show(receipts, as_json=as_json)


def _show(receipts: "Receipts", *, as_json: bool) -> None:
    text = f"{receipts.line()}\n\n{receipts.as_text()}{receipts.reasons()}"
    show(receipts.as_json(), text, as_json=as_json, succeeded=receipts.succeeded)


COMMANDS = (send, deliver, outbox, withdraw)
