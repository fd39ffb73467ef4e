"""The Dask cluster of a bench that has no other: processes on this machine, reachable from it alone."""

from typing import Any

LOOPBACK = "127.0.0.1"


def local_cluster(workers: int) -> Any:
    """Start a scheduler and single-threaded workers as processes of their own, all on loopback.

    They are separate programs rather than children that import the caller's script again, so a script
    needs no `if __name__ == "__main__"` and a worker that dies takes nothing with it.
    """
    from distributed.deploy.subprocess import SubprocessCluster

    return SubprocessCluster(
        host=LOOPBACK,
        n_workers=workers,
        threads_per_worker=1,
        dashboard_address=f"{LOOPBACK}:0",
        silence_logs=40,
    )
