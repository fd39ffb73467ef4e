"""A progress bar with rate and rest for anything that takes longer than a moment."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NoReturn

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

        token = _SHOWN.set(shown)
        try:
            yield advance
        finally:
            _SHOWN.reset(token)


@contextmanager
def waiting(words: str) -> Iterator[None]:
    """Say on the bar that is shown, if there is one, what is waited for while the body runs."""
    shown = _SHOWN.get()
    if shown is None:
        yield
        return
    shown.set_postfix_str(words)
    try:
        yield
    finally:
        shown.set_postfix_str("")


_SHOWN: ContextVar["tqdm[NoReturn] | None"] = ContextVar("shown", default=None)
