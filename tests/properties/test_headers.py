"""pydicom is the truth: `read_header` gives for every attribute of the table what pydicom gives."""

import io
import math
import re
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from catalog import guard
from catalog.attributes import ATTRIBUTES, BY_KEYWORD, BY_TAG, Attribute, Kind
from catalog.content import Contents
from catalog.errors import HeaderError
from catalog.forms import Forms
from catalog.headers import read_dataset, read_header
from catalog.records import InstanceHeader, Unreadable, Value
from catalog.window import Stream

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


OLD_DATE = re.compile(r"\d{4}\.\d\d\.\d\d")
"""Before DICOM (PS3.5 section 6.2); a column has it as dates are written since."""


def as_column(ds: Dataset, attribute: Attribute) -> Value:
    """What the column should hold for what pydicom read."""
    element = ds.get(attribute.tag)
    if element is None or element.value in (None, "", []):
        return None
    value = element.value
    values = list(value) if element.VM > 1 else [value]
    if attribute.kind is Kind.TEXT:
        text = "\\".join(str(each).strip(" \0") for each in values).partition("\0")[0]
        is_old = attribute.vr == "DA" and OLD_DATE.fullmatch(text)
        return (text.replace(".", "") if is_old else text) or None
    if attribute.kind is Kind.NUMBERS:
        return "\\".join(str(each) for each in values)
    numbers = [float(each) for each in values if str(each)]
    if not numbers or not math.isfinite(numbers[0]):
        return None
    if attribute.kind is Kind.REAL:
        return numbers[0]
    return int(numbers[0]) if numbers[0] == int(numbers[0]) else None


def differences(path: Path) -> list[str]:
    found = read_header(path)
    if isinstance(found, Unreadable):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        return [each.keyword for each in ATTRIBUTES if not same(found, ds, each)]


def same(found: InstanceHeader, ds: Dataset, attribute: Attribute) -> bool:
    ours = found.values.get(attribute.column)
    try:
        theirs = as_column(ds, attribute)
    except (ValueError, TypeError, OverflowError):  # pydicom cannot make sense of the value either
        return ours is None and any(attribute.keyword in each for each in found.deviations)
    if theirs is None and ours is not None:
        return any(f"has no {attribute.keyword}" in each for each in found.deviations)  # from the meta header
    if attribute.kind is Kind.NUMBERS and ours is not None:
        return numbers_of(ours) == numbers_of(theirs)
    return ours == theirs


def numbers_of(value: Value) -> list[float]:
    return [float(each) for each in str(value).split("\\")]


def test_every_shared_file_has_the_attributes_pydicom_reads(shared_data: Path) -> None:
    folders = [each for each in shared_data.iterdir() if each.is_dir() and each.name != "answers"]
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]

    assert len(paths) > 800
    assert {str(path): found for path in paths if (found := differences(path))} == {}


def test_every_test_file_of_pydicom_has_the_attributes_pydicom_reads() -> None:
    paths = [path for path in PYDICOM_FILES.rglob("*") if path.is_file()]

    readable = [path for path in paths if isinstance(read_header(path), InstanceHeader)]
    assert len(readable) > 50
    assert {str(path): found for path in readable if (found := differences(path))} == {}


TEXTS = {
    "ISO_IR 100": st.text(st.characters(codec="latin-1", categories=("L", "N", "P", "Zs")), max_size=16),
    "ISO_IR 144": st.text(st.characters(min_codepoint=0x410, max_codepoint=0x44F), max_size=16),
    "ISO_IR 192": st.text(st.characters(codec="utf-8", categories=("L", "N")), max_size=16),
    "GB18030": st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), max_size=10),
}
SYNTAXES = st.sampled_from(
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ]
)
DECIMALS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda number: f"{number:.6g}")


@st.composite
def data_sets(draw: st.DrawFn) -> Dataset:
    """A valid data set with any of the attributes, among sequences that are not looked into."""
    ds = Dataset()
    ds.SpecificCharacterSet = draw(st.sampled_from(sorted(TEXTS)))
    text = TEXTS[ds.SpecificCharacterSet].filter(lambda each: not set(each) & set("\\^="))
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2", "1.2.4"
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    inner = Dataset()
    inner.PatientID = "not this one"
    inner.Rows = 7
    ds.RequestAttributesSequence = [inner, inner]
    ds["RequestAttributesSequence"].is_undefined_length = draw(st.booleans())
    made: dict[str, Any] = {
        "LO": text, "SH": text, "PN": text, "CS": st.sampled_from(["M", "ORIGINAL\\PRIMARY", " PADDED "]),
        "DA": st.dates().map(lambda day: day.strftime("%Y%m%d").zfill(8))
        | st.dates().map(lambda day: day.isoformat().replace("-", ".")),
        "TM": st.times().map(lambda time: time.strftime("%H%M%S.%f")),
        "DT": st.datetimes().map(lambda when: when.strftime("%Y%m%d%H%M%S").zfill(14)),
        "AS": st.just("042Y"), "UI": st.just("1.2.840.1"), "IS": st.integers(-(2**31), 2**31 - 1),
        "DS": DECIMALS, "US": st.integers(0, 65535), "FD": st.floats(allow_nan=False, allow_infinity=False),
    }  # fmt: skip
    for attribute in draw(st.lists(st.sampled_from(ATTRIBUTES), unique=True)):
        if attribute.keyword not in ds:
            value = draw(made[attribute.vr])
            many = attribute.kind is Kind.NUMBERS
            both = [value, draw(made[attribute.vr])] if many else value
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # dates of the old form
                setattr(ds, attribute.keyword, both)
    return ds


@settings(max_examples=150, deadline=None)
@given(ds=data_sets(), syntax=SYNTAXES)
def test_what_pydicom_wrote_is_read_as_pydicom_reads_it(
    ds: Dataset, syntax: pydicom.uid.UID, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.dcm"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(path, enforce_file_format=True)

    header = read_header(path)

    assert isinstance(header, InstanceHeader), header
    assert header.transfer_syntax_uid == syntax
    assert differences(path) == []
    assert read_dataset(path).get("SOPInstanceUID") == "1.2.3"
    assert header.values.get("patient_id") != "not this one"
    assert BY_KEYWORD["Rows"].column not in header.values or header.values["rows"] == ds.Rows


@settings(max_examples=300, deadline=None)
@given(noise=st.binary(max_size=600), prefix=st.sampled_from([b"", bytes(128) + b"DICM", b"\x08\0\x05\0"]))
def test_any_bytes_give_a_header_or_a_reason(
    noise: bytes, prefix: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.dcm"
    path.write_bytes(prefix + noise)

    found = read_header(path)

    assert isinstance(found, InstanceHeader) or found.reason


@pytest.mark.parametrize(
    "term", ["ISO\0IR 100", "undefined", "hex", "idna", "zip", "ISO IR 192", "ÿ", "\\\\"]
)
def test_a_strange_character_set_is_a_deviation(term: str, tmp_path: Path) -> None:
    content = (PYDICOM_FILES / "CT_small.dcm").read_bytes()
    content = content.replace(b"CS\x0a\0ISO_IR 100", b"CS\x0a\0" + term.encode("latin-1").ljust(10)[:10])
    path = tmp_path / "strange.dcm"
    name = b"\xc4\x1b\xff\x1b$Bpressed^CT1".ljust(len(b"CompressedSamples^CT1"))
    path.write_bytes(content.replace(b"CompressedSamples^CT1", name))

    header = read_header(path)

    assert isinstance(header, InstanceHeader)
    assert header.deviations


@settings(max_examples=300, deadline=None)
@given(at=st.integers(132, 2000), value=st.integers(0, 255), cut=st.integers(0, 2500))
def test_a_damaged_header_gives_a_header_or_a_reason(
    at: int, value: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray((PYDICOM_FILES / "CT_small.dcm").read_bytes())
    content[at] = value
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    path.write_bytes(content[: len(content) - cut] if cut < 2000 else content)

    found = read_header(path)

    assert isinstance(found, InstanceHeader) or found.reason


FORM_FILES = ("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "rtdose.dcm")
PIXEL_TAGS = (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")


def scanned(content: bytes, forms: Forms | None) -> tuple[object, ...]:
    """All that is told of some bytes, or why nothing is."""
    stream = Stream(io.BytesIO(content).read, len(content), 0)
    try:
        head = guard.scan(stream, BY_TAG, keep=True, forms=forms)
    except HeaderError as error:
        return (str(error),)
    return (
        head.meta, head.elements, head.encoding, head.transfer_syntax_uid, head.pixel_data, head.start,
        head.end, head.digest, head.deviations, head.data_set,
    )  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(
    name=st.sampled_from(FORM_FILES),
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=3),
    cut=st.integers(-40, 40) | st.none(),
)
def test_what_has_the_form_of_another_is_read_as_if_it_were_walked(
    name: str, changes: list[tuple[int, int]], cut: int | None
) -> None:
    content = (PYDICOM_FILES / name).read_bytes()
    end = max(content.find(tag) for tag in PIXEL_TAGS)
    forms = Forms()
    scanned(content, forms)
    changed = bytearray(content)
    for at, value in changes:
        changed[at % (end + 14)] = value
    other = bytes(changed[: end + cut] if cut is not None else changed)

    assert scanned(other, forms) == scanned(other, None)


@pytest.mark.parametrize("name", FORM_FILES)
def test_a_header_in_which_only_values_differ_has_the_form_of_the_other(name: str) -> None:
    content = (PYDICOM_FILES / name).read_bytes()
    uid = str(pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID).encode()
    forms = Forms()
    first, second = (
        guard.scan(Stream(io.BytesIO(each).read, len(each), 0), BY_TAG, forms=forms)
        for each in (content, content.replace(uid, uid[:-1] + b"9"))
    )

    assert first.form is not None
    assert second.form is first.form
    assert list(second.changed) == [0x00080018]
    assert second.elements != first.elements


def test_every_shared_file_is_read_as_if_it_were_the_only_one(shared_data: Path) -> None:
    contents, compared = Contents(), 0
    for path in sorted(each for each in shared_data.rglob("*") if each.is_file()):
        among, alone = read_header(path, contents), read_header(path, Contents())
        if isinstance(among, Unreadable) or isinstance(alone, Unreadable):
            assert among == alone
            continue
        for name in ("values", "header_digest", "pixel_data", "deviations", "size", "transfer_syntax_uid"):
            assert getattr(among, name) == getattr(alone, name), path
        if among.content is not None and alone.content is not None:
            assert among.content.document() == alone.content.document(), path
        compared += 1
    assert compared
