"""26: a disk without room, at any write, under any folder: refused in time, nothing lost, and on it goes."""

import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.dsutils import encode

from catalog import outbox
from catalog.database import Catalog
from catalog.durable import file_digest
from catalog.errors import CatalogError
from catalog.identifiers import digest, new_uid
from catalog.intake import Intake
from catalog.locks import LOCK
from pipelines import phantoms
from tests.faults.killing import Victims, points, victims
from tests.peers.caller import an_object, associated
from tests.peers.calling import answer_to, calling
from tests.peers.scripted import scripted
from workbench.pacs.deliver import deliver
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.journal import Journal
from workbench.pacs.node import ListenAddress
from workbench.pacs.posting import post
from workbench.pacs.sop_classes import (
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
)

NOW = datetime(2026, 11, 30, tzinfo=UTC)
OUT_OF_RESOURCES = 0xA700

CODE = """
import os
from pathlib import Path
from catalog.database import Catalog
from catalog.errors import CatalogError
from catalog.intake import Intake

def say(*words):
    os.writev(1, [(" ".join(words) + "\\n").encode()])  # which is no write that is counted

def tried(do):
    for _ in range(3):
        try:
            return do()
        except (OSError, CatalogError) as error:
            say("refused", type(error).__name__)

def work(catalog, received, sent):
    intake = tried(lambda: Intake(Catalog(catalog), Path(received)).__enter__())
    if intake is None:
        return

    def take(path):
        with intake.incoming() as incoming:
            incoming.write(path.read_bytes())
            taken = intake.take(incoming, settled=False)
        say(str(taken.status), taken.digest)

    for path in sorted(Path(sent).iterdir()):
        tried(lambda: take(path))
    tried(lambda: say("settled", str(intake.settle(3))))
    intake.__exit__()
"""
CALLS = {"write": 5, "pwrite64": 8, "fsync": 5, "fdatasync": 4, "link": 3, "openat": 5, "mkdir": 2}
"""What takes room on a disk, and at how many calls of each there is none."""


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sent")
    return list(phantoms.write_series(folder, planes=4, rows=8, columns=8).paths)


@pytest.fixture(scope="module")
def receiver(strace: str) -> Iterator[Victims]:
    with victims(strace, CODE, [*CALLS]) as made:
        yield made


def bench(folder: Path, fresh: Path, sent: list[Path]) -> list[str]:
    """A new bench, to receive what is sent."""
    folder.mkdir()
    shutil.copy(fresh, folder / "catalog.sqlite")
    return [str(folder / "catalog.sqlite"), str(folder / "received"), str(sent[0].parent)]


@pytest.fixture(scope="module")
def counted(
    receiver: Victims, fresh: Path, sent: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Counter[str]:
    """How many calls it makes where there is room."""
    ended = receiver.run(bench(tmp_path_factory.mktemp("counted") / "0", fresh, sent))
    assert ended.code == 0
    return ended.calls


@pytest.mark.parametrize("call", CALLS)
def test_26_P1_without_room_at_one_write_it_is_refused_or_kept_and_the_next_try_succeeds(
    receiver: Victims, counted: Counter[str], sent: list[Path], fresh: Path, tmp_path: Path, call: str
) -> None:
    wanted = sorted(file_digest(path) for path in sent)
    for point in points(counted[call], CALLS[call]):
        home = tmp_path / str(point)
        full = f"inject={call}:error=ENOSPC:when={point}"
        ended = receiver.run(bench(home, fresh, sent), "-e", full)
        said = ended.said.splitlines()
        assert ended.code == 0, (point, said)
        assert said[-1] == "settled True", (point, said)
        acknowledged = [line.split()[1] for line in said[:-1] if not line.startswith("refused")]
        assert sorted(acknowledged) == wanted, (point, said)
        with_rows(home, wanted)


@pytest.mark.parametrize("call", ["pwrite64", "write", "fsync"])
def test_26_P8_without_room_from_some_write_on_what_was_acknowledged_is_there_when_there_is_room_again(
    receiver: Victims, counted: Counter[str], sent: list[Path], fresh: Path, tmp_path: Path, call: str
) -> None:
    for point in points(counted[call], 4):
        home = tmp_path / str(point)
        ended = receiver.run(bench(home, fresh, sent), "-e", f"inject={call}:error=ENOSPC:when={point}+")
        said = ended.said.splitlines()
        assert ended.code == 0, said
        assert "refused" in ended.said
        acknowledged = [line.split()[1] for line in said if line.startswith("stored")]
        catalog = Catalog(home / "catalog.sqlite")
        with Intake(catalog, home / "received") as intake:
            assert intake.settle(20)
        assert {file_digest(path) for path in files(home)} >= set(acknowledged)
        with_rows(home, sorted({file_digest(path) for path in files(home)}))
        with Intake(catalog, home / "received") as intake:
            for path in sent:
                with intake.incoming() as incoming:
                    incoming.write(path.read_bytes())
                    intake.take(incoming)
        catalog.close()
        with_rows(home, sorted(file_digest(path) for path in sent))


def files(home: Path) -> list[Path]:
    return [path for path in (home / "received").rglob("*") if path.is_file() and path.name != LOCK]


def with_rows(home: Path, digests: list[str]) -> None:
    """Each of these is there once, with its row, and nothing else is."""
    there = files(home)
    assert sorted(map(file_digest, there)) == digests
    catalog = Catalog(home / "catalog.sqlite")
    with catalog.reading() as connection:
        assert connection.scalar(sa.text("PRAGMA integrity_check")) == "ok"
        named = list(connection.scalars(sa.text("SELECT folder || '/' || name FROM files")))
    catalog.close()
    assert sorted(named) == sorted(map(str, there))


# --- a small file system under each folder ---------------------------------------------------------------


def fill(folder: Path) -> Path:
    """Leave no room on a disk; remove the file that is returned to make room again."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


@pytest.mark.parametrize("reserve", [8, 0])
def test_26_P1_a_disk_that_fills_refuses_with_A700_and_recovers_without_a_restart(
    start_receive: Callable[..., Any], small_disk: Callable[[Path, int], None], tmp_path: Path, reserve: int
) -> None:
    small_disk(tmp_path / "bench", 24)
    receiving = start_receive(tmp_path / "bench", before=["env", f"WORKBENCH_RECEIVE_FREE_MB={reserve}"])
    association = associated(receiving)
    statuses = []
    while not statuses or statuses[-1] == 0x0000:
        statuses.append(association.send_c_store(an_object(3 << 20)).Status)
    assert statuses[-1] == 0xA700
    assert len(statuses) > 2
    kept = [path for path in receiving.files if path.suffix == ".dcm"]
    assert len(kept) == len(statuses) - 1, "what was acknowledged is there, and nothing else"
    for path in kept[:2]:
        path.unlink()  # room
    assert association.send_c_store(an_object(1 << 20)).Status == 0x0000
    association.release()
    assert receiving.end() == 0


@pytest.mark.parametrize("which", ["catalog and its log", "received"])
def test_26_P1_a_disk_that_fills_under_one_folder_refuses_with_A700_and_recovers_without_a_restart(
    start_receive: Callable[..., Any], small_disk: Callable[[Path, int], None], tmp_path: Path, which: str
) -> None:
    home, small = tmp_path / "bench", tmp_path / "small"
    if which == "received":
        small = home / "received"
    small_disk(small, 8)
    before = ["env", "WORKBENCH_RECEIVE_FREE_MB=0"]
    if which != "received":
        before.append(f"WORKBENCH_CATALOG={small / 'catalog.sqlite'}")
    receiving = start_receive(home, before=before)
    association = associated(receiving)
    statuses = [association.send_c_store(an_object()).Status]
    filler = fill(small)
    while len(statuses) < 500 and statuses[-1] == 0x0000:
        statuses.append(association.send_c_store(an_object(1 << 16)).Status)
    assert statuses[-1] == OUT_OF_RESOURCES
    assert association.send_c_store(an_object(1 << 20)).Status == OUT_OF_RESOURCES
    filler.unlink()
    assert association.send_c_store(an_object(1 << 16)).Status == 0x0000
    association.release()
    assert receiving.end() == 0
    kept = [path for path in receiving.files if path.suffix == ".dcm"]
    assert len(kept) == statuses.count(0x0000) + 1, "what was acknowledged is there, and nothing else"


def test_26_a_request_for_commitment_that_cannot_be_kept_is_told_so_and_the_next_one_is(
    start_receive: Callable[..., Any], small_disk: Callable[[Path, int], None], tmp_path: Path
) -> None:
    home = tmp_path / "bench"
    small_disk(home / "commitments", 1)
    (home / "workbench.toml").write_text(
        '[nodes.SCANNER]\nae_title = "ASKER"\nmay = ["store", "commit"]\nhost = "127.0.0.1"\nport = 104\n'
    )
    receiving = start_receive(home, anyone=False)
    filler = fill(home / "commitments")
    assert asked(receiving) == 0x0110
    filler.unlink()
    assert asked(receiving) == 0x0000
    assert receiving.end() == 0


def test_26_an_outbox_without_room_queues_nothing_and_the_next_try_does(
    sqlite_catalog: Catalog, small_disk: Callable[[Path, int], None], sent: list[Path], tmp_path: Path
) -> None:
    small_disk(tmp_path / "outbox", 1)
    filler = fill(tmp_path / "outbox")
    with pytest.raises(OSError, match="No space left on device"):
        post(sqlite_catalog, sent[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
    assert outbox.deliveries(sqlite_catalog) == []
    filler.unlink()
    assert not list((tmp_path / "outbox").glob("*.dcm*"))
    post(sqlite_catalog, sent[0], "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
    (delivery,) = outbox.deliveries(sqlite_catalog)
    assert digest(Path(delivery.path).read_bytes()) == delivery.digest


def test_26_P5_a_catalog_without_room_sends_nothing_that_it_cannot_note_and_loses_nothing(
    small_disk: Callable[[Path, int], None], sent: list[Path], fresh: Path, tmp_path: Path
) -> None:
    small_disk(small := tmp_path / "small", 4)
    shutil.copy(fresh, small / "catalog.sqlite")
    catalog = Catalog(small / "catalog.sqlite")
    for path in sent:
        post(catalog, path, "PACS", outbox_folder=tmp_path / "outbox", now=NOW)
    with closing(sqlite3.connect(small / "catalog.sqlite")) as connection:  # else its log has room of its own
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    filler = fill(small)
    with scripted() as pacs:

        def send(days: int) -> None:
            now = NOW + timedelta(days=days)
            deliver(catalog, pacs.node(), listen=ListenAddress(), now=lambda: now, wait=timedelta(seconds=1))

        with pytest.raises(CatalogError, match="its disk is full"):
            send(0)
        assert pacs.received == []
        filler.unlink()
        send(1)
        assert {each.state for each in outbox.deliveries(catalog)} == {"confirmed"}
        assert len(pacs.received) == len(pacs.kept) == len(sent)
    catalog.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is of Linux")
def test_26_a_log_without_room_ends_nothing() -> None:
    stream = Path("/dev/full").open("w")  # noqa: SIM115
    journal = Journal(stream)
    for _ in range(1000):
        journal.say("association", node="SCANNER")
    with pytest.raises(OSError, match="No space left"):
        stream.close()  # as each of these would have


def asked(receiving: Any) -> int:
    """Status of a request for storage commitment."""
    node = DimseNode("WORKBENCH", "127.0.0.1", receiving.port, calling_ae_title="ASKER", answer_seconds=20)
    information, reference = Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    information.TransactionUID, information.ReferencedSOPSequence = new_uid(), [reference]
    with calling(node, [build_context(STORAGE_COMMITMENT_PUSH_MODEL)]) as association:
        (context,) = association.accepted_contexts
        request = N_ACTION()
        request.MessageID, request.ActionTypeID = 1, 1
        request.RequestedSOPClassUID = STORAGE_COMMITMENT_PUSH_MODEL
        request.RequestedSOPInstanceUID = STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
        syntax = context.transfer_syntax[0]
        encoded = encode(information, syntax.is_implicit_VR, syntax.is_little_endian)
        assert encoded is not None
        request.ActionInformation = BytesIO(encoded)
        answer = answer_to(association, request, context.context_id or 0)
        association.abort()
        return int(answer.Status)
