"""Routes for a bench, round after round until it is told to end, or once; one process at a time."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from catalog import locks
from catalog.database import Catalog
from catalog.errors import CatalogError, DeliveryError
from catalog.routings import Effect
from workbench.bench.opened import now
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.journal import Journal
from workbench.pacs.node import ListenAddress, Node
from workbench.routing.carriers import Carriers
from workbench.routing.identity import deidentifier_of
from workbench.routing.router import Places, Round, Router
from workbench.routing.rules import Table
from workbench.settings import Settings

if TYPE_CHECKING:
    from workbench.pacs.receipt import Receipt

LOOK_SECONDS = 0.5
"""How often it is looked whether something came."""
AGAIN_SECONDS = 5.0
"""After which a round is tried again that could not be done."""
END_SECONDS = 20.0
"""How long deliveries under way may take to come to their end; the next start goes on with the rest."""


@dataclass(frozen=True, slots=True)
class Routed:
    """What was done at once."""

    asked: int
    """Objects that rules were asked about."""
    effects: tuple[Effect, ...]
    stable: int
    """Series that were found stable."""


def table_of(settings: Settings) -> Table:
    """Return the rules of a bench, with the names under which nodes may call."""
    called = {name: each.ae_title for name, each in settings.nodes.items() if isinstance(each, DimseNode)}
    return Table(settings.routes, called)


def nodes_of(settings: Settings) -> Mapping[str, Node]:
    """Return the nodes a bench can send to, by name; their limits are counted with those of `bench.nodes`."""
    counted_in = settings.nodes_folder
    return {name: node.called(name, settings.ae_title, counted_in) for name, node in settings.nodes.items()}


def router_of(settings: Settings, catalog: Catalog) -> Router:
    """Return what carries out the rules of a bench.

    Raises
    ------
    catalog.errors.SettingsError
        If the function that removes identities cannot be found.
    """
    return Router(
        catalog,
        table_of(settings),
        Places(settings.received_folder.resolve(), settings.outbox_folder, settings.home),
        deidentifier_of(settings.deidentifier),
        settings.stable_seconds,
        now,
        time.monotonic,
    )


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Be the one process that routes for a bench.

    Raises
    ------
    catalog.errors.DeliveryError
        If another does.
    """
    try:
        with locks.alone(settings.routing_folder, wait=False):
            yield
    except BlockingIOError:
        raise DeliveryError(
            f"another process routes for {settings.home}: workbench receive, or workbench route; "
            "it does what is due"
        ) from None


def route_once(settings: Settings, catalog: Catalog, *, again: bool) -> Routed:
    """Do what is due, and deliver until nothing is due any more.

    A series that nothing told of becomes stable only while somebody watches: for that `route_on` is there.

    Parameters
    ----------
    again
        Ask once more about what was refused, too.

    Raises
    ------
    catalog.errors.WorkbenchError
        If another process routes, or something is not as it must be.
    """
    with alone(settings):
        router = router_of(settings, catalog)
        effects = router.again() if again else []
        done = router.round()
        carriers = _carriers(settings, catalog, Journal(None))
        while carriers.look():
            carriers.wait(LOOK_SECONDS)
        return Routed(done.asked, (*effects, *done.effects), len(done.events))


def route_on(settings: Settings, catalog: Catalog, end: threading.Event, journal: Journal) -> None:
    """Route until the end is set; what cannot be done now is tried again.

    Raises
    ------
    catalog.errors.SettingsError
        If the settings are impossible.
    """
    router, carriers = router_of(settings, catalog), _carriers(settings, catalog, journal)
    pause, said = 0.0, ""
    while not end.wait(pause):
        try:
            _say(journal, router.round())
            carriers.look()
            pause, said = LOOK_SECONDS, ""
        except (CatalogError, OSError) as error:
            pause = AGAIN_SECONDS
            if str(error) != said:
                said = str(error)
                journal.say("routing waits", error=type(error).__name__)
    carriers.wait(END_SECONDS)


def wait_for_turn(settings: Settings, end: threading.Event, work: Callable[[], None]) -> None:
    """Work as soon as no other process routes for the bench, unless the end comes before."""
    while not end.is_set():
        try:
            with alone(settings):
                return work()
        except DeliveryError:
            end.wait(LOOK_SECONDS)
    return None


def _carriers(settings: Settings, catalog: Catalog, journal: Journal) -> Carriers:
    def tell(node: str, receipts: "Sequence[Receipt]", fault: str) -> None:
        counts = Counter(each.state for each in receipts)
        if fault:
            journal.say("delivering waits", node=node)
        elif receipts:
            journal.say("delivered", node=node, **counts)

    return Carriers(
        catalog,
        nodes_of(settings),
        ListenAddress(settings.listen_host, settings.listen_port, catalog, settings.received_folder),
        now=now,
        wait=timedelta(seconds=settings.commitment_seconds),
        tell=tell,
    )


def _say(journal: Journal, done: Round) -> None:
    for (rule, outcome), count in Counter((each.rule, each.outcome) for each in done.effects).items():
        journal.say("routed", rule=rule, outcome=outcome, objects=count)
    for event in done.events:
        journal.say("stable", number=event.number, instances=event.instances, rule=event.rule)
