"""A catalog that grows stays as fast: the index and every question, beside one of 100,000 instances.

`WORKBENCH_SOAK_INSTANCES=10000000 make soak` takes 9 GB and an hour; a million are a few minutes. What is
compared is the time of a core, the least of many, one catalog and the other in turn: so it counts little what
else the machine does.
"""

import os
from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest

from catalog.database import Catalog
from tests.benchmarks import catalog_scale as scale

INSTANCES = int(os.environ.get("WORKBENCH_SOAK_INSTANCES", "1_000_000"))
MOST = 1.2
"""So many times as long."""
RESOLUTION_MS = 0.5
"""What the least of many still differs from one run to the next."""
COUNTS_MS = {"count of CT": 60.0, "facets, modality": 60.0}
"""Counts of all series follow their number; a million have this limit."""
REPEATS = 30
WINDOWS, WINDOW = 5, 5_000
"""Instances that the index writes for its rate."""


def core_ms(run: Callable[[], object]) -> float:
    """Milliseconds of a core."""
    started = process_time()
    run()
    return 1e3 * (process_time() - started)


def least(catalogs: tuple[Catalog, Catalog]) -> dict[str, tuple[float, float]]:
    """Milliseconds of each question in either catalog."""
    small, large = map(scale.questions, catalogs)
    found = {}
    for what in small:
        taken = [(core_ms(small[what]), core_ms(large[what])) for _ in range(REPEATS)]
        found[what] = (min(each[0] for each in taken), min(each[1] for each in taken))
    return found


def seconds_of_index(catalogs: tuple[Catalog, Catalog]) -> tuple[float, float]:
    """Seconds of a core for so many new instances in either catalog."""
    taken = [
        tuple(scale.write(each, (1 + window) * 10_000_000, WINDOW)[1] for each in catalogs)
        for window in range(WINDOWS)
    ]
    return min(each[0] for each in taken), min(each[1] for each in taken)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_neither_the_index_nor_a_question_is_slower_by_more_than_a_fifth(tmp_path: Path) -> None:
    small, large = Catalog(tmp_path / "small.sqlite"), Catalog(tmp_path / "large.sqlite")
    for catalog, size in ((small, 100_000), (large, INSTANCES)):
        scale.write(catalog, scale.FIRST, scale.TEMPLATE)
        scale.grow(catalog, size)
    before, after = seconds_of_index((small, large))
    asked = least((small, large))
    small.close()
    large.close()
    assert after <= MOST * before
    assert {
        what: (round(few, 1), round(many, 1))
        for what, (few, many) in asked.items()
        if many > COUNTS_MS.get(what, MOST * few + RESOLUTION_MS)
    } == {}, f"ms at 100,000 and at {INSTANCES:,} instances"
