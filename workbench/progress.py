"""A progress bar with rate and rest for anything that takes longer than a moment."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from catalog.records import Progress, no_progress


@contextmanager
def bar(label: str, unit: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Show a bar while the body runs, where somebody looks: none in a log or a pipe, none when `quiet`."""
    if quiet or not (sys.stderr.isatty() or "ipykernel" in sys.modules):
        yield no_progress
        return
    with tqdm(desc=f" {label:<9}", unit=f" {unit}", leave=False, dynamic_ncols=True, delay=0.2) as shown:

        def advance(done: int, total: int | None) -> None:
            if total is not None:
                shown.total = total
            shown.update(done - shown.n)

        yield advance
