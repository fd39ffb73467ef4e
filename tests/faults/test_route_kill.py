"""23: rules that are being carried out when the process is killed at any system call: once, none left out."""

import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from catalog import outbox
from catalog.arrivals import Claim
from catalog.database import Catalog
from catalog.durable import file_digest
from catalog.intake import Intake
from catalog.receptions import Sender
from pipelines import phantoms
from tests.faults.killing import Victims, points, victims

CODE = """
import time
from datetime import UTC, datetime
from pathlib import Path
from catalog.database import Catalog
from workbench.routing.identity import deidentifier_of
from workbench.routing.router import Places, Router
from workbench.routing.rules import Rule, Table
rules = (
    Rule("on", forward=("PACS",)),
    Rule("without", forward=("RESEARCH",), deidentify=True),
    Rule("tell", notify="notices"),
    Rule("whole", when="stable", forward=("LATER",), notify="whole"),
)

def work(home, tools):
    home = Path(home)
    router = Router(
        Catalog(home / "catalog.sqlite"), Table(rules),
        Places(home / "received", home / "outbox", home), deidentifier_of(f"{tools}:anonymous"),
        0.0, lambda: datetime.now(UTC), time.monotonic,
    )
    router.round()  # it sees what came
    router.round()  # and that nothing came since
"""
TOOLS = """
import pydicom
from pydicom.uid import generate_uid
def anonymous(source, target):
    ds = pydicom.dcmread(source)
    ds.PatientID = ds.PatientName = "STUDY-1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = (generate_uid() for _ in range(3))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(target)
"""
CALLS = {"fsync": 6, "fdatasync": 4, "rename": 5, "pwrite64": 8, "write": 4, "unlink": 2}
"""What changes the disk, and at how many calls of each it is killed."""


@pytest.fixture(scope="module")
def router(strace: str) -> Iterator[Victims]:
    with victims(strace, CODE, [*CALLS]) as made:
        yield made


@pytest.fixture(scope="module")
def counted(router: Victims, fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    folder = tmp_path_factory.mktemp("counted")
    ct = phantoms.write_series(folder / "ct", planes=3, rows=8, columns=8)
    ended = router.run(received(folder / "0", fresh, ct))
    assert ended.code == 0
    return ended.calls


def received(folder: Path, fresh: Path, ct: phantoms.Phantom) -> list[str]:
    """A bench that has received a series, and the function that removes identities."""
    home = folder / "home"
    home.mkdir(parents=True)
    shutil.copy(fresh, home / "catalog.sqlite")
    (tools := folder / "tools.py").write_text(TOOLS)
    catalog = Catalog(home / "catalog.sqlite")
    with Intake(catalog, home / "received") as intake:
        for path in ct.paths:
            with intake.incoming() as incoming:
                incoming.write(path.read_bytes())
                intake.take(incoming, Claim(sender=Sender("SCANNER", "SCAN", "WORKBENCH")))
    catalog.close()
    return [str(home), str(tools)]


@pytest.mark.parametrize("call", CALLS)
def test_23_P5_P8_killed_at_any_system_call_one_delivery_comes_of_each_object_and_node(
    router: Victims, counted: Counter[str], fresh: Path, tmp_path: Path, call: str
) -> None:
    ct = phantoms.write_series(tmp_path / "ct", planes=3, rows=8, columns=8)
    for point in points(counted[call], CALLS[call]):
        made: list[list[str]] = []

        def anew(point: int = point, made: list[list[str]] = made) -> list[str]:
            made.append(received(tmp_path / f"{point}-{len(made)}", fresh, ct))
            return made[-1]

        router.killed(anew, call, point)
        went_on(router, made[-1], ct)


def went_on(router: Victims, bench: list[str], ct: phantoms.Phantom) -> None:
    """The next one does what is left, and nothing twice."""
    home = Path(bench[0])
    made = {path: path.read_bytes() for path in (home / "outbox").glob("*.dcm")}
    for path in made:
        pydicom.dcmread(path)  # what has its name is whole
    assert router.run(bench).code == 0
    catalog = Catalog(home / "catalog.sqlite")

    uids = list(ct.sop_instance_uids)
    assert [each.sop_instance_uid for each in outbox.deliveries(catalog, node="PACS")] == uids
    assert sorted(each.sop_instance_uid for each in outbox.deliveries(catalog, node="LATER")) == sorted(uids)
    without = outbox.deliveries(catalog, node="RESEARCH")
    assert len({each.sop_instance_uid for each in without}) == len(without) == len(uids)
    assert {file_digest(Path(each.path)) for each in without} == {each.digest for each in without}
    assert set(made) <= {Path(each.path) for each in without}, (
        "what was made before the kill is what goes out"
    )
    assert {path: path.read_bytes() for path in made} == made
    assert len(list((home / "notices").glob("*.json"))) == len(uids)
    assert len(list((home / "whole").glob("*.json"))) == 1
    assert outbox.due(catalog, "PACS", datetime.now(UTC)) != []
    catalog.close()
