"""The Dask cluster of a bench: what Ctrl-C and a worker that dies do to it."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from distributed import Client, KilledWorker

from workbench.cluster import local_cluster

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="dask starts no subprocess cluster there")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with local_cluster(1) as cluster, Client(cluster, set_as_default=False) as connected:
        connected.wait_for_workers(1, timeout=60)
        connected.submit(os.getpid).result()  # its keeper knows of it, too
        yield connected


def test_ctrl_c_does_not_reach_the_processes_that_keep_the_workers(client: Client) -> None:
    (keeper,) = client.run(os.getppid).values()
    (worker,) = client.run(os.getpid).values()
    for each in (keeper, worker):
        os.kill(each, signal.SIGINT)
    assert client.submit(os.getpid, pure=False).result(timeout=30) == worker


def test_a_step_that_ends_its_worker_is_tried_twice(client: Client, tmp_path: Path) -> None:
    def end(folder: str) -> None:
        Path(folder, uuid4().hex).touch()
        os._exit(1)

    error = client.submit(end, str(tmp_path), pure=False).exception(timeout=120)
    assert isinstance(error, KilledWorker)
    assert len(list(tmp_path.iterdir())) == 2
