"""The storage folder of a real Orthanc is an archive, compressed or not."""

import json
import struct
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import workbench
from catalog.database import Catalog
from catalog.index import index_paths
from catalog.orthanc import BESIDE
from pipelines import phantoms

type Start = Callable[..., Any]


@pytest.mark.pacs
@pytest.mark.parametrize("is_compressed", [False, True])
def test_the_storage_of_an_orthanc_is_indexed_and_opened(
    tmp_path: Path, start_orthanc: Start, free_port: int, is_compressed: bool
) -> None:
    storage = tmp_path / "storage"
    start_orthanc(
        StorageDirectory=str(storage), StorageCompression=is_compressed, HttpPort=free_port,
        AuthenticationEnabled=False,
    )  # fmt: skip
    phantom = phantoms.write_series(tmp_path / "files", planes=4)
    for path in phantom.paths:
        address = f"http://127.0.0.1:{free_port}/instances"
        urllib.request.urlopen(urllib.request.Request(address, path.read_bytes())).close()

    with workbench.open(tmp_path / "bench", threads=2) as bench:
        report = bench.index(storage, quiet=True).report

        assert report.added == 4
        assert report.conflicts == ()
        assert len(report.rejected) == int(is_compressed)
        assert all(each.reason == f"{BESIDE}; so are 3 more" for each in report.rejected)
        np.testing.assert_array_equal(bench.volume(phantom.series_instance_uid), phantom.modality_values)
        assert bench.verify(quiet=True).mismatches == ()
        again = bench.index(storage, quiet=True).report
        assert (again.unchanged, again.rejected) == (4, report.rejected)


def attachment(folder: Path, number: int, content: bytes, *, size: int | None = None) -> Path:
    name = f"{number:08x}-0000-0000-0000-000000000000"
    path = folder / name[:2] / name[2:4] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(content) if size is None else size) + zlib.compress(content, 9))
    return path


def test_attachments_that_lie_or_explode_have_a_reason(sqlite_catalog: Catalog, tmp_path: Path) -> None:
    (whole,) = phantoms.write_series(tmp_path / "files", planes=1).paths
    content, folder = whole.read_bytes(), tmp_path / "storage"
    attachment(folder, 1, content)
    attachment(folder, 2, content[:200])
    attachment(folder, 3, content, size=300)
    bomb = struct.pack("<HH2sHL", 0x0029, 0x1010, b"OB", 0, 250 << 20) + bytes(300 << 20)
    attachment(folder, 4, content[:132] + bomb, size=400 << 20)
    for number in range(5, 9):
        attachment(folder, number, json.dumps({"0008,0005": number}).encode())
    cut = attachment(folder, 9, content)
    cut.write_bytes(cut.read_bytes()[:100])
    (folder / "00" / "00" / "note").write_bytes(bytes(8) + zlib.compress(b"no attachment by its name"))

    report = index_paths(sqlite_catalog, [folder])

    assert report.added == 1
    told = {Path(each.path.removesuffix("!/dicom")).name[:8]: each.reason for each in report.rejected}
    assert told["00000005"] == f"{BESIDE}; so are 3 more"
    assert all(told[f"0000000{number}"] for number in (2, 3, 4, 9))
    assert "is no DICOM" in told["note"]
    assert len(report.rejected) == 6
