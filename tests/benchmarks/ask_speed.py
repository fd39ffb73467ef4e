"""Seconds to fetch a study of 300 CT images, and to find 1,000 studies: ours beside getscu and findscu.

Ours is what a bench does: it asks for the instances of the series, and has all files durable before it is
done; getscu does neither. An image has 0.5 MB; of each match that is found every value is read. The
peers are Orthanc and DCMTK's dcmqrscp, filled once; everybody has TCP_NODELAY.
`python tests/benchmarks/ask_speed.py [images [studies]]` prints the table; the best of some repeats, taken in
turns.
"""

import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from send_speed import DCMTK, ENVIRONMENT, orthanc, receiver

from catalog.identifiers import new_uid
from pipelines import phantoms
from workbench.pacs import dimse
from workbench.pacs.association import associate, contexts_for
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.node import ListenAddress

REPEATS = 3
IMAGES, STUDIES = 300, 1000
KEYS = ("PatientName", "PatientID", "StudyDate", "StudyDescription", "AccessionNumber", "StudyInstanceUID")

type Times = tuple[float, float]
"""Seconds on the clock, and of processor time."""


def dcmqrscp(folder: Path, port: int, _listen: int) -> list[str]:
    store = folder / "store"
    store.mkdir()
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nORTHANC {store} RW (4000, 1024mb) ANY\nAETable END\n"
    )
    program = shutil.which("dcmqrscp", path=DCMTK) or "dcmqrscp"
    return [program, "-c", str(folder / "dcmqrscp.cfg")]


def fill(node: DimseNode, paths: Sequence[Path]) -> None:
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    pairs = [(str(each.SOPClassUID), str(each.file_meta.TransferSyntaxUID)) for each in headers]
    with associate(node, contexts_for(pairs)) as association:
        for path, header, (sop_class_uid, syntax) in zip(paths, headers, pairs, strict=True):
            dimse.store(
                association, path, sop_class_uid=sop_class_uid,
                sop_instance_uid=str(header.SOPInstanceUID), transfer_syntax_uid=syntax,
            )  # fmt: skip


def small_studies(folder: Path, studies: int) -> list[Path]:
    (path,) = phantoms.write_series(folder, stored=np.zeros((1, 16, 16), np.uint16)).paths
    ds, paths = pydicom.dcmread(path), []
    for number in range(studies):
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = new_uid(), new_uid(), new_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.PatientID, ds.AccessionNumber = f"FIND{number}", f"A{number}"
        paths.append(folder / f"study{number}.dcm")
        ds.save_as(paths[-1])
    return paths


@contextmanager
def empty() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def timed(act: Callable[[], object]) -> Times:
    begun, used = perf_counter(), process_time()
    act()
    return perf_counter() - begun, process_time() - used


def timed_program(*command: str) -> Times:
    begun, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    found = shutil.which(command[0], path=DCMTK) or command[0]
    subprocess.run([found, *command[1:]], env=ENVIRONMENT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return perf_counter() - begun, used


def address(node: DimseNode) -> list[str]:
    return ["-aet", node.calling_ae_title, "-aec", node.ae_title, node.host, str(node.port)]


def fetched_by_us(node: DimseNode, study: str, series: str, images: int) -> Times:
    with empty() as folder:
        took = timed(lambda: node.retrieve(study, series, folder, ListenAddress()))
        assert len(list(folder.rglob("*.dcm"))) == images
    return took


def fetched_by_getscu(node: DimseNode, study: str, images: int) -> Times:
    with empty() as folder:
        took = timed_program(
            "getscu", "-S", "+B", "-od", str(folder), *address(node), "-k", "QueryRetrieveLevel=STUDY", "-k",
            f"StudyInstanceUID={study}",
        )  # fmt: skip
        assert len(list(folder.iterdir())) == images
    return took


def found_by_us(node: DimseNode, studies: int) -> Times:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    for keyword in KEYS:
        setattr(identifier, keyword, None)
    identifier.PatientID = "FIND*"

    def find() -> None:
        found = [[str(each.get(keyword)) for keyword in KEYS] for each in dimse.find(node, identifier)]
        assert len(found) == studies

    return timed(find)


def found_by_findscu(node: DimseNode) -> Times:
    keys = [
        part for keyword in KEYS for part in ("-k", "PatientID=FIND*" if keyword == "PatientID" else keyword)
    ]
    return timed_program("findscu", "-S", *address(node), "-k", "QueryRetrieveLevel=STUDY", *keys)


def compare(name: str, theirs: Callable[[], Times], ours: Callable[[], Times]) -> None:
    taken = [(theirs(), ours()) for _ in range(REPEATS)]
    their_time, our_time = (min(each[side][0] for each in taken) for side in (0, 1))
    their_work, our_work = (min(each[side][1] for each in taken) for side in (0, 1))
    sys.stdout.write(
        f"{name:<24}{their_time:>10.2f}{our_time:>10.2f} ({our_time / their_time:4.2f})"
        f"{their_work:>12.2f}{our_work:>8.2f}\n"
    )
    sys.stdout.flush()


def compare_fetch(node: DimseNode, name: str, uids: tuple[str, str], paths: Sequence[Path]) -> None:
    fill(node, paths)
    compare(
        f"fetch, {name}",
        lambda: fetched_by_getscu(node, uids[0], len(paths)),
        lambda: fetched_by_us(node, *uids, len(paths)),
    )


def main(images: int = IMAGES, studies: int = STUDIES) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        noise = np.random.default_rng(0).integers(0, 4096, (images, 512, 512), np.uint16)
        series = phantoms.write_series(Path(name) / "ct", stored=noise)
        del noise
        small = small_studies(Path(name) / "small", studies)
        header = pydicom.dcmread(series.paths[0], stop_before_pixels=True)
        uids = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
        sys.stdout.write(
            f"fetch of {images} CT images, find of {studies} studies: seconds, and of processor\n"
        )
        sys.stdout.write(f"{'':<24}{'DCMTK':>10}{'ours (ratio)':>17}{'processor: DCMTK':>12} ours\n")
        with receiver(dcmqrscp) as (node, _listen):  # it takes 500 studies at most
            compare_fetch(node, "dcmqrscp", uids, series.paths)
        with receiver(orthanc) as (node, _listen):
            compare_fetch(node, "Orthanc", uids, series.paths)
            fill(node, small)
            compare("find, Orthanc", lambda: found_by_findscu(node), lambda: found_by_us(node, studies))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
