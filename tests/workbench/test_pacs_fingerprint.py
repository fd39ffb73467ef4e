"""The same data set has the same fingerprint in every transfer syntax, another one has not."""

import struct
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pipelines import phantoms
from workbench.pacs.fingerprint import differences, fingerprint

SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    pytest.param(ExplicitVRBigEndian, marks=pytest.mark.filterwarnings("ignore:.*retired")),
]


def written(ds: Dataset, transfer_syntax: UID = ExplicitVRLittleEndian) -> Dataset:
    """The data set as it comes back from a file in a transfer syntax."""
    copy = pydicom.dcmread(BytesIO(_bytes(ds)))
    copy.file_meta.TransferSyntaxUID = transfer_syntax
    if transfer_syntax == ExplicitVRBigEndian and "PixelData" in copy:
        words = struct.unpack(f"<{len(copy.PixelData) // 2}H", copy.PixelData)
        copy.PixelData = struct.pack(f">{len(words)}H", *words)
    buffer = BytesIO()
    dcmwrite(
        buffer,
        copy,
        implicit_vr=transfer_syntax.is_implicit_VR,
        little_endian=transfer_syntax.is_little_endian,
    )
    return pydicom.dcmread(BytesIO(buffer.getvalue()))


def _bytes(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


@pytest.fixture
def nested(tmp_path: Path) -> Dataset:
    """A CT plane with a sequence in a sequence, text in Latin-1 and numbers of every width."""
    ds = pydicom.dcmread(phantoms.write_series(tmp_path, planes=1).paths[0])
    inner, outer = Dataset(), Dataset()
    inner.CodeMeaning = "Größe"
    inner.PixelAspectRatio = ["1", "2"]
    outer.ConceptCodeSequence = [inner]
    outer.SelectorFDValue = [1.5, -2.5]
    outer.SelectorATValue = [0x00100010]
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ProcedureCodeSequence = [outer, Dataset()]
    ds.SmallestImagePixelValue = 3
    return ds


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
def test_a_transfer_syntax_changes_nothing(nested: Dataset, transfer_syntax: UID) -> None:
    assert differences(fingerprint(written(nested)), fingerprint(written(nested, transfer_syntax))) == []


def test_explicit_or_undefined_lengths_change_nothing(nested: Dataset) -> None:
    other = written(nested)
    other["ProcedureCodeSequence"].is_undefined_length = True
    other.ProcedureCodeSequence[0].is_undefined_length_sequence_item = True
    assert differences(fingerprint(written(nested)), fingerprint(written(other))) == []


def test_values_that_were_read_before_change_nothing(nested: Dataset) -> None:
    looked_at = written(nested)
    str(looked_at)
    assert differences(fingerprint(written(nested)), fingerprint(looked_at)) == []


def test_group_lengths_and_padding_are_left_out(nested: Dataset) -> None:
    other = written(nested)
    other.add_new(0x00080000, "UL", 12)
    other.add_new(0xFFFCFFFC, "OB", b"\0\0")
    assert differences(fingerprint(written(nested)), fingerprint(other)) == []


def test_what_differs_is_named_by_keyword_and_not_by_value(nested: Dataset) -> None:
    other = written(nested)
    other.PatientName = "Another^Name"
    other.ProcedureCodeSequence[0].ConceptCodeSequence[0].CodeMeaning = "other"
    other.add_new(0x00091001, "LO", "private")
    del other.PixelData
    assert differences(fingerprint(written(nested)), fingerprint(other)) == [
        "ProcedureCodeSequence", "(0009,1001)", "PatientName", "PixelData",
    ]  # fmt: skip


@given(st.lists(st.integers(0, 2), max_size=3), st.lists(st.integers(0, 2), max_size=3))
def test_sequences_are_the_same_when_their_items_are(one: list[int], other: list[int]) -> None:
    prints = [fingerprint(_with_items(numbers)) for numbers in (one, other)]
    assert (differences(*prints) == []) == (one == other)


def _with_items(numbers: list[int]) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.ProcedureCodeSequence = [Dataset() for _ in numbers]
    for item, number in zip(ds.ProcedureCodeSequence, numbers, strict=True):
        if number:
            item.CodeValue = str(number)
    return ds
