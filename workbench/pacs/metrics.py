"""A receiver as Prometheus sees it: its counts, and how the bench stands; never anything of a patient.

A file in the text exposition format, replaced whole, as the textfile collector of the node exporter reads it.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from catalog import outbox
from catalog.database import Catalog
from catalog.durable import write
from catalog.errors import CatalogError
from catalog.places import INCOMING
from workbench.pacs.owed import OwedAnswers
from workbench.pacs.tallies import COUNTERS, Tally, total
from workbench.settings import Settings

PREFIX = "workbench_"
"""Begins the name of every metric; `receive_` follows where it is of the receiver alone."""

type Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with its values."""

    name: str
    kind: str
    """`counter` or `gauge`."""
    words: str
    values: Sequence[tuple[Labels, float]]


def exposition(families: Iterable[Family]) -> str:
    """Return metrics in Prometheus's text exposition format, version 0.0.4."""
    lines: list[str] = []
    for each in families:
        name = PREFIX + each.name
        lines += [f"# HELP {name} {each.words}", f"# TYPE {name} {each.kind}"]
        lines += [f"{name}{_labelled(labels)} {value:.17g}" for labels, value in each.values]
    return "".join(line + "\n" for line in lines)


def _labelled(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def counted(tallies: Iterable[Tally]) -> list[Family]:
    """Return the counters, of several processes together."""
    counts = total(tallies)
    return [
        Family(
            f"receive_{name}_total",
            "counter",
            kind.words,
            [((("outcome", each),) if each else (), counts[name, each]) for each in kind.outcomes],
        )
        for name, kind in COUNTERS.items()
    ]


type Look = Callable[["Bench"], Iterable[tuple[Labels, float]]]


@dataclass(frozen=True, slots=True)
class Bench:
    """What gauges look at."""

    settings: Settings
    catalog: Catalog
    now: datetime


def _depths(bench: Bench) -> Iterator[tuple[Labels, float]]:
    for depth in outbox.depths(bench.catalog):
        yield (("node", depth.node), ("state", depth.state)), depth.deliveries


def _overdue(bench: Bench) -> Iterator[tuple[Labels, float]]:
    for node, since in outbox.due_since(bench.catalog).items():
        yield (("node", node),), max((bench.now - since).total_seconds(), 0.0)


def _free(bench: Bench) -> Iterator[tuple[Labels, float]]:
    for name, folder in (("home", bench.settings.home), ("received", bench.settings.received_folder)):
        with suppress(OSError):
            yield (("folder", name),), shutil.disk_usage(folder).free


def _reserve(bench: Bench) -> Iterator[tuple[Labels, float]]:
    yield (), bench.settings.receive_free_mb << 20


def _unsettled(bench: Bench) -> Iterator[tuple[Labels, float]]:
    yield (), sum(1 for _ in (bench.settings.received_folder / INCOMING).glob("*/*.partial"))


def _owed(bench: Bench) -> Iterator[tuple[Labels, float]]:
    yield (), sum(1 for _ in OwedAnswers(bench.settings.commitments_folder).names())


GAUGES: Mapping[str, tuple[str, Look]] = {
    "outbox_deliveries": ("Deliveries in the outbox, by node and state.", _depths),
    "outbox_overdue_seconds": ("How long the oldest delivery to a node has been due.", _overdue),
    "disk_free_bytes": ("Free bytes where the bench and what it receives lie.", _free),
    "receive_reserve_bytes": ("Free bytes below which objects are refused (status A700).", _reserve),
    "receive_unsettled_objects": ("Objects that are arriving or not settled in the catalog yet.", _unsettled),
    "receive_commitments_owed": ("Reports of storage commitment that nodes have not taken yet.", _owed),
}
"""Every gauge by its name; one that cannot be looked at just now is left out."""


def standing(bench: Bench) -> Iterator[Family]:
    """Yield the gauges."""
    for name, (words, look) in GAUGES.items():
        with suppress(OSError, CatalogError):
            yield Family(name, "gauge", words, list(look(bench)))


def publish(path: Path, tallies: Sequence[Tally], settings: Settings, catalog: Catalog) -> None:
    """Write the file anew; where that fails it stays as it was, whose age tells."""
    bench = Bench(settings, catalog, datetime.now(UTC))
    with suppress(OSError):
        write(path, exposition([*counted(tallies), *standing(bench)]).encode())
