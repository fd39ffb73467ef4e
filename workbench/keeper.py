"""The process that starts a Dask worker of `workbench.cluster`, watches it, and replaces it when it dies."""

import signal
from typing import Self

from distributed import Nanny


class Keeper(Nanny):
    """A Nanny that Ctrl-C does not reach.

    Its process inherits that SIGINT is held back, but multiprocessing lets it through again when it starts
    the worker; interrupted, it would close its worker while the process of the cluster does the same.
    """

    async def start_unsafe(self) -> Self:
        """Start the worker; SIGINT is ignored from here on."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        await super().start_unsafe()  # type: ignore[no-untyped-call]  # distributed has few types
        return self
