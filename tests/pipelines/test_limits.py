"""The largest frame is a setting; a header that claims more takes no memory."""

import tracemalloc
from typing import Any

import pydicom
import pytest

from catalog.errors import DecodeError
from pipelines import phantoms
from pipelines.decoding.limits import FRAME_VARIABLE, largest_frame_bytes
from pipelines.volumes import open_array


def test_a_frame_above_the_limit_is_refused_with_what_to_set(
    indexed: Any, ct: phantoms.Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = pydicom.dcmread(ct.paths[0])
    header.Rows = header.Columns = 1024
    header.PixelData = bytes(2 * 1024 * 1024)
    header.save_as(ct.paths[0])
    (series,) = indexed(ct.paths[0].parent)
    monkeypatch.setenv(FRAME_VARIABLE, "1")
    (rejected,) = series.ingest().rejected
    assert rejected.path == str(ct.paths[0])
    assert "exceeds 1 MiB: it has 2.0" in rejected.reason
    assert FRAME_VARIABLE in rejected.reason
    monkeypatch.setenv(FRAME_VARIABLE, "2")
    ingested = series.ingest()
    assert ingested.rejected == ()
    assert max(open_array(each).size for each in ingested.arrays) == 1024 * 1024


def test_a_claim_of_eight_gigabytes_takes_no_memory(indexed: Any, ct: phantoms.Phantom) -> None:
    header = pydicom.dcmread(ct.paths[0])
    header.Rows = header.Columns = 65535
    header.save_as(ct.paths[0])
    (series,) = indexed(ct.paths[0].parent)
    tracemalloc.start()
    (rejected,) = series.ingest().rejected
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "exceeds 1024 MiB" in rejected.reason
    assert peak < 64 << 20


@pytest.mark.parametrize("said", ["0", "-1", "1.5", "lots", "1e3", "9" * 12])
def test_a_limit_that_is_no_number_of_mib_is_named(said: str) -> None:
    with pytest.raises(DecodeError, match=FRAME_VARIABLE):
        largest_frame_bytes({FRAME_VARIABLE: said})


def test_without_the_variable_it_is_a_gibibyte() -> None:
    assert largest_frame_bytes({}) == largest_frame_bytes({FRAME_VARIABLE: " "}) == 1 << 30
