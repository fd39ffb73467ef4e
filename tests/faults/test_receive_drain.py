"""The end under load: what was answered with success is there, nobody waits, nothing is left half done."""

import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from catalog.database import Catalog
from catalog.durable import file_digest
from tests.peers.caller import an_object, associated, memory_mib

SUCCESS = 0x0000
SENDERS = 4
STOP_SECONDS = 30.0
MEMORY_MIB = 100
ANSWER_SECONDS = 10.0


class Sender(threading.Thread):
    """Stores small objects one after the other until the line is gone or enough are there."""

    def __init__(self, receiving: Any, at_most: int) -> None:
        super().__init__(daemon=True)
        self._receiving, self._at_most = receiving, at_most
        self.acknowledged: list[str] = []
        self.slowest = 0.0

    def run(self) -> None:
        association = associated(self._receiving, answer_seconds=ANSWER_SECONDS)
        while association.is_established and len(self.acknowledged) < self._at_most:
            ds, began = an_object(20_000), time.monotonic()
            try:
                status = association.send_c_store(ds)
            except RuntimeError:  # the association ended between two objects
                break
            if "Status" in status and status.Status == SUCCESS:
                self.acknowledged.append(str(ds.SOPInstanceUID))
                self.slowest = max(self.slowest, time.monotonic() - began)
        if len(self.acknowledged) == self._at_most:
            association.release()
        else:
            association.abort()


def kept(home: Path) -> dict[str, tuple[Path, str]]:
    """SOP Instance UID to file and digest, as the catalog has them."""
    catalog = Catalog(home / "catalog.sqlite")
    with catalog.reading() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT sop_instance_uid, folder, name, content_digest FROM files "
                "JOIN instances ON files.instance = instances.id WHERE state = 'indexed'"
            )
        ).all()
    catalog.close()
    return {uid: (Path(folder, name), digest) for uid, folder, name, digest in rows}


@pytest.mark.parametrize("workers", [1, 2])
def test_37_P1_SIGTERM_under_load_ends_soon_and_keeps_all_that_was_acknowledged(
    start_receive: Callable[..., Any], tmp_path: Path, workers: int
) -> None:
    receiving = start_receive(tmp_path / "bench", "--workers", str(workers))
    senders = [Sender(receiving, 100_000) for _ in range(SENDERS)]
    for each in senders:
        each.start()
    until = time.monotonic() + 60
    while min(len(each.acknowledged) for each in senders) < 5:
        assert time.monotonic() < until
        time.sleep(0.02)
    began = time.monotonic()
    assert receiving.end() == 0
    assert time.monotonic() - began < STOP_SECONDS
    for each in senders:
        each.join(STOP_SECONDS)
        assert not each.is_alive(), "nobody waits for an answer that does not come"
    acknowledged = {uid for each in senders for uid in each.acknowledged}
    there = kept(tmp_path / "bench")
    assert acknowledged <= there.keys()
    assert all(file_digest(path) == digest for path, digest in there.values())
    assert not list((tmp_path / "bench" / "received").rglob("*.partial"))
    assert "Fatal" not in receiving.log.read_text()


def test_36_four_senders_and_one_who_asks_are_all_answered_in_time(
    start_receive: Callable[..., Any], tmp_path: Path
) -> None:
    from pydicom.dataset import Dataset
    from pynetdicom import AE

    from workbench.pacs.sop_classes import STUDY_ROOT_FIND

    home = tmp_path / "bench"
    home.mkdir()
    (home / "workbench.toml").write_text(
        '[nodes.VIEWER]\nae_title = "VIEWER"\nhost = "127.0.0.1"\nport = 104\nmay = ["find"]\n'
    )
    receiving = start_receive(home)
    senders = [Sender(receiving, 60) for _ in range(SENDERS)]
    before = memory_mib(receiving)
    for each in senders:
        each.start()
    ae = AE("VIEWER")
    ae.add_requested_context(STUDY_ROOT_FIND)
    association = ae.associate("127.0.0.1", receiving.port, ae_title="WORKBENCH")
    assert association.is_established
    question = Dataset()
    question.QueryRetrieveLevel, question.StudyInstanceUID = "STUDY", ""
    asked = 0
    while any(each.is_alive() for each in senders) or not asked:
        began = time.monotonic()
        answers = list(association.send_c_find(question, STUDY_ROOT_FIND))
        assert answers[-1][0].Status == SUCCESS
        assert time.monotonic() - began < ANSWER_SECONDS
        asked += 1
    association.release()
    assert [len(each.acknowledged) for each in senders] == [60] * SENDERS
    assert max(each.slowest for each in senders) < ANSWER_SECONDS
    assert memory_mib(receiving) - before < MEMORY_MIB
    assert receiving.end() == 0
    assert len(kept(home)) == 60 * SENDERS


def test_37_the_router_is_told_to_end_when_draining_begins(
    start_receive: Callable[..., Any], tmp_path: Path
) -> None:
    """Else one waits for the other, longer than a service manager waits for both."""
    receiving = start_receive(tmp_path / "bench", routing=True)
    number = receiving.process.pid
    (router,) = map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
    association = associated(receiving, answer_seconds=ANSWER_SECONDS)
    association.dul.socket.socket.sendall(bytes.fromhex("040000010000"))  # half a message: draining waits
    await_that(lambda: listens_to_sigterm(router))
    receiving.process.terminate()
    await_that(lambda: not is_running(router), seconds=8)
    assert receiving.process.poll() is None, "it drains"
    association.abort()


def await_that(holds: Callable[[], bool], seconds: float = STOP_SECONDS) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def listens_to_sigterm(number: int) -> bool:
    """Whether a process has a handler of its own for it, as /proc says."""
    (caught,) = re.findall(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{number}/status").read_text())
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def is_running(number: int) -> bool:
    """Whether a process is there, and has not ended unnoticed by who started it."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
