"""The Dask cluster of a bench that has no other: processes on this machine, reachable from it alone."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

    from catalog.readers import Submit

LOOPBACK = "127.0.0.1"


def local_cluster(workers: int) -> Any:
    """Start a scheduler and single-threaded workers as processes of their own, all on loopback.

    They are separate programs rather than children that import the caller's script again, so a script
    needs no `if __name__ == "__main__"` and a worker that dies takes nothing with it. Ctrl-C, which a
    terminal and Jupyter send to all processes of a group, reaches this process alone: it ends what runs.
    A step that ends its worker is tried once more, on another one.
    """
    from distributed.deploy.subprocess import SubprocessCluster

    with _interrupts_held():
        return SubprocessCluster(
            host=LOOPBACK,
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=f"{LOOPBACK}:0",
            scheduler_kwargs={"allowed_failures": 1},
            worker_class="workbench.keeper.Keeper",
            silence_logs=40,
        )


def reading_on(client: "Client") -> "Submit":
    """Give files to the workers of a cluster, which return their headers packed (`catalog.readers`).

    A worker that dies is one of Dask's concerns: another one reads its files, and if they all die, the
    session.
    """
    from catalog.readers import read_packed

    return partial(client.submit, read_packed, pure=False)


def threads_of(client: "Client") -> int:
    """How much the workers of a cluster do at the same time; 1 while it has none."""
    return max(sum(client.nthreads().values()), 1)  # type: ignore[no-untyped-call]  # distributed has few types


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold SIGINT back; threads and programs started meanwhile never get it, this thread gets it after."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
