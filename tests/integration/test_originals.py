"""DICOM to Zarr to DICOM: the same instances, as independent readers see them, and the same arrays."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
)
from typer.testing import CliRunner

from catalog.database import Catalog
from catalog.errors import ArrayError, ExportError
from catalog.identifiers import new_uid
from catalog.index import index_paths
from catalog.query import find_series, instances_of
from catalog.records import ArrayRecord
from pipelines import phantoms
from pipelines.encode.originals import Originals, write_originals
from pipelines.ingest import ingest_series
from pipelines.planes import planes_of
from workbench.cli import app

UNDECODED = {JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1}
"""What the decoders of pydicom that are installed do not read; the digests of the arrays stand for it."""
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom names departures of real files

PIXEL_GROUP, CHARACTER_SET = 0x7FE0, 0x00080005


def arrays_of(folder: Path, home: Path) -> list[ArrayRecord]:
    """Every array of a folder on a bench of its own."""
    home.mkdir(parents=True, exist_ok=True)
    with closing(Catalog(home / "catalog.sqlite")) as catalog:
        index_paths(catalog, [folder])
        return [
            array
            for each in find_series(catalog)
            for array in ingest_series(
                each, instances_of(catalog, each.series_instance_uid), (home / "arrays").absolute(), threads=2
            ).arrays
        ]


def digests(arrays: list[ArrayRecord]) -> list[str]:
    return sorted(each.stored_digest for each in arrays)


def there_and_back(folder: Path, tmp_path: Path) -> tuple[Originals, list[ArrayRecord]]:
    arrays = arrays_of(folder, tmp_path / "bench")
    return write_originals(arrays, tmp_path / "back"), arrays


def by_uid(paths: Iterator[Path] | tuple[Path, ...]) -> dict[str, tuple[Path, pydicom.Dataset]]:
    read = [(path, pydicom.dcmread(path, force=True)) for path in paths]
    return {str(ds.SOPInstanceUID): (path, ds) for path, ds in read}


def files_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and pydicom.misc.is_dicom(path))


def plain(value: Any) -> Any:
    """Values without padding, which is not significant (PS3.5 section 6.2)."""
    if isinstance(value, pydicom.Sequence):
        return [{each.tag: plain(each.value) for each in item if each.tag.element} for item in value]
    if isinstance(value, pydicom.multival.MultiValue | list):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return value.rstrip(b"\0")
    return str(value).strip() if isinstance(value, str | pydicom.valuerep.PersonName) else value


def differences(source: pydicom.Dataset, written: pydicom.Dataset, told: Originals) -> set[str]:
    """Elements that differ and that the report does not name."""
    named = {each.split()[0].split(".")[0] for each in told.left_out}
    named |= {each[1:5] + each[6:10] for text in told.changed for each in text.split("; ") if each[0] == "("}
    tags = {*source.keys(), *written.keys()} - {CHARACTER_SET}
    return {
        f"{tag:08X}"
        for tag in tags
        if tag.group < PIXEL_GROUP
        and tag.element
        and f"{tag:08X}" not in named
        and (tag not in source or tag not in written or plain(source[tag].value) != plain(written[tag].value))
    }


def errors_of(dciodvfy: Path, path: Path) -> set[str]:
    done = subprocess.run([dciodvfy, "-new", path], capture_output=True, timeout=60, check=False)
    return {each for each in done.stderr.decode("utf-8", "replace").splitlines() if each.startswith("Error")}


REAL = [
    "volumes/mr_orientations",
    "volumes/ct_head_tilt_ge_28",
    "fourd/enhanced_fmri_philips",
    "fourd/mr_dynamic_siemens_3x3",
    "transfer_syntax/enhanced_ct_encapsulation",
    "modalities/ct_small.dcm",
    "modalities/dx_small.dcm",
    "modalities/pt_single.dcm",
    "modalities/nm_wholebody_j2k.dcm",
]


@pytest.mark.parametrize("name", REAL)
def test_real_instances_come_back_with_values_header_and_no_new_error(
    shared_data: Path, tmp_path: Path, dciodvfy: Path, name: str
) -> None:
    folder = shared_data / name
    told, arrays = there_and_back(folder, tmp_path)
    assert not told.rejected
    sources = by_uid([folder] if folder.is_file() else files_in(folder))
    written = by_uid(told.paths)
    assert written.keys() == {uid for each in arrays for uid in _uids(each)} <= sources.keys()
    for uid, (path, ds) in written.items():
        source_path, source = sources[uid]
        assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        if source.file_meta.TransferSyntaxUID not in UNDECODED:
            assert np.array_equal(ds.pixel_array, source.pixel_array)
        assert differences(source, ds, told) == set()
        if len(written) < 12 or uid == min(written):
            assert errors_of(dciodvfy, path) <= errors_of(dciodvfy, source_path)
    assert digests(arrays_of(tmp_path / "back", tmp_path / "again")) == digests(arrays)


def _uids(array: ArrayRecord) -> set[str]:
    return {each.sop_instance_uid for each in planes_of(array)}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("modalities/mg_overlay_jpegll.dcm", ""),
        ("modalities/op_jpegll.dcm", ""),
        ("modalities/ot_palette_8bit.dcm", ""),
        ("modalities/cr_mono1_10bit_nopart10.dcm", ""),
        ("modalities/xc_jpeg_icon.dcm", "YBR_FULL_422 was decoded"),
        ("modalities/mr_enhanced_j2k_19fr_multifragment.dcm", "Bits Stored is 13 instead of 12"),
    ],
)
def test_what_pydicom_does_not_decode_comes_back_with_the_same_array(
    shared_data: Path, tmp_path: Path, name: str, changed: str
) -> None:
    told, arrays = there_and_back(shared_data / name, tmp_path)
    (path,) = told.paths
    ds, source = pydicom.dcmread(path), pydicom.dcmread(shared_data / name, force=True)
    assert changed in " ".join(told.changed)
    assert source.SOPInstanceUID == ds.SOPInstanceUID
    assert path.stem == ds.SOPInstanceUID or len(ds.SOPInstanceUID) > 64
    assert differences(source, ds, told) <= ({"00280101", "00280102"} if "Bits" in changed else set())
    assert digests(arrays_of(tmp_path / "back", tmp_path / "again")) == digests(arrays)
    assert len(told.left_out) == ("icon" in name)


def test_an_image_that_was_ever_compressed_with_loss_says_so(shared_data: Path, tmp_path: Path) -> None:
    told, _ = there_and_back(shared_data / "cine", tmp_path)
    lossy = [ds for _, ds in by_uid(told.paths).values() if ds.Modality in ("XA", "US")]
    assert [ds.get("LossyImageCompression") for ds in lossy].count("01") == 3
    assert {ds.PhotometricInterpretation for ds in lossy} == {"RGB", "MONOCHROME2", "PALETTE COLOR"}
    assert {int(ds.NumberOfFrames) for ds in lossy} == {10, 30, 34, 96}


def test_a_mosaic_is_whole_where_the_source_proves_it_and_else_is_refused(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "transfer_syntax" / "same_mosaic_9_syntaxes"
    told, _ = there_and_back(folder, tmp_path)
    sources = by_uid(files_in(folder))
    assert len(told.paths) + len(told.rejected) == 9
    assert all("mosaic" in reason for reason in told.rejected.values())
    assert "00291010" in {each.split()[0] for each in told.left_out}
    for uid, (_, ds) in by_uid(told.paths).items():
        assert np.array_equal(ds.pixel_array, sources[uid][1].pixel_array)


# --- any form of stored values ---------------------------------------------------------------------------


@st.composite
def forms(draw: st.DrawFn) -> dict[str, Any]:
    """Attributes that describe pixels, as far as they may be together (PS3.3 C.7.6.3)."""
    allocated = draw(st.sampled_from([1, 8, 16, 32]))
    samples = draw(st.sampled_from([1, 3])) if allocated == 8 else 1
    stored = draw(st.integers(max(allocated // 2, 1), allocated)) if samples == 1 else 8
    high_bit = draw(st.integers(stored - 1, allocated - 1))
    found: dict[str, Any] = {
        "BitsAllocated": allocated, "BitsStored": stored, "HighBit": high_bit, "SamplesPerPixel": samples,
        "PixelRepresentation": draw(st.integers(0, 1)) if samples == 1 and allocated > 1 else 0,
        "PhotometricInterpretation": "RGB" if samples == 3 else "MONOCHROME2",
        "Rows": draw(st.integers(1, 5)), "Columns": draw(st.integers(1, 5)),
    }  # fmt: skip
    if samples == 3:
        found["PlanarConfiguration"] = draw(st.integers(0, 1))
    if draw(st.booleans()):
        found["NumberOfFrames"] = draw(st.integers(1, 5))
    return found


TEXTS = st.sampled_from(["", "plain", "Grüße", "東京", "a/b = c"])
DECIMALS = st.one_of(
    st.floats(-1e9, 1e9).map(lambda value: f"{value:.10g}"),
    st.sampled_from(["-.12345678901234", "1.2345678901E-10", "-1e-300", "0.10", "+5", "1234567890123456"]),
).filter(lambda text: len(text) <= 16)


@given(forms(), TEXTS, st.lists(DECIMALS, min_size=1, max_size=3), st.booleans(), st.randoms())
@settings(max_examples=60)
def test_any_form_of_pixels_and_values_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    form: dict[str, Any],
    text: str,
    decimals: list[str],
    is_implicit: bool,
    random: Any,
) -> None:
    folder = tmp_path_factory.mktemp("form")
    ds = _image(form, random.getrandbits(32))
    ds.SpecificCharacterSet, ds.SeriesDescription, ds.ImageComments = "ISO_IR 192", text, text
    ds.add_new(0x00181041, "DS", decimals[0])
    ds.add_new(0x00283002, "US", [1, 2, 3])
    item = pydicom.Dataset()
    item.add_new(0x00101030, "DS", decimals)
    ds.add_new(0x00081115, "SQ", [item])
    syntax = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    (folder / "dicom").mkdir()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(folder / "dicom" / "one.dcm", enforce_file_format=True)
    told, arrays = there_and_back(folder / "dicom", folder)
    ((path, back),) = by_uid(told.paths).values()
    source = pydicom.dcmread(folder / "dicom" / "one.dcm")
    assert differences(source, back, told) == set()
    assert np.array_equal(_values(back), _values(source))
    raw = pydicom.dcmread(path)[0x00081115].value[0].get_item(0x00101030).value
    assert max(map(len, raw.decode().strip().split("\\"))) <= 16
    assert digests(arrays_of(folder / "back", folder / "again")) == digests(arrays)


def _image(form: dict[str, Any], seed: int) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.SOPClassUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.7", "OT"
    ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID = new_uid(), new_uid(), new_uid()
    ds.PatientID = "P1"
    for keyword, value in form.items():
        setattr(ds, keyword, value)
    count = form["Rows"] * form["Columns"] * form["SamplesPerPixel"] * form.get("NumberOfFrames", 1)
    content = np.random.default_rng(seed).bytes((count * form["BitsAllocated"] + 7) // 8)
    is_word = form["BitsAllocated"] > 8
    ds.add_new(0x7FE00010, "OW" if is_word else "OB", content + b"\0" * (len(content) % 2))
    return ds


def _values(ds: pydicom.Dataset) -> np.ndarray:
    """Pixels by pydicom, without what stands in bits that hold no value."""
    pixels = ds.pixel_array
    allocated, stored, high = ds.BitsAllocated, ds.BitsStored, ds.HighBit
    if allocated == 1:
        return pixels
    unsigned = ds.PixelData
    raw = np.frombuffer(unsigned, f"<u{allocated // 8}", pixels.size)
    return (raw >> (high + 1 - stored)) & ((1 << stored) - 1)


# --- what is refused -------------------------------------------------------------------------------------


def test_nothing_is_overwritten_and_nothing_is_begun(tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "dicom", planes=4, rows=5, columns=4)
    told, arrays = there_and_back(tmp_path / "dicom", tmp_path)
    kept, *others = told.paths
    before = kept.read_bytes()
    for each in others:
        each.unlink()
    with pytest.raises(ExportError, match="nothing is overwritten"):
        write_originals(arrays, tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == [kept]
    assert kept.read_bytes() == before


def test_an_instance_is_written_from_all_its_parts_or_not_at_all(shared_data: Path, tmp_path: Path) -> None:
    """Its frames lie in two orientations, so in two arrays."""
    source = pydicom.dcmread(next(files_in(shared_data / "fourd" / "enhanced_fmri_philips")))
    groups = source.PerFrameFunctionalGroupsSequence
    for item in groups[:16]:
        item.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 0, 0, 1]
    (tmp_path / "dicom").mkdir()
    source.save_as(tmp_path / "dicom" / "one.dcm")
    told, arrays = there_and_back(tmp_path / "dicom", tmp_path)
    assert len(arrays) > 1
    ((_, ds),) = by_uid(told.paths).values()
    assert np.array_equal(ds.pixel_array, source.pixel_array)
    assert differences(source, ds, told) == set()
    alone = write_originals(arrays[:1], tmp_path / "part")
    assert alone.paths == ()
    (reason,) = alone.rejected.values()
    assert "of its 32 frames are not in these arrays" in reason


def test_values_that_are_not_those_that_were_ingested_are_not_written(tmp_path: Path) -> None:
    phantoms.write_series(tmp_path / "dicom", planes=4, rows=5, columns=4)
    (array,) = arrays_of(tmp_path / "dicom", tmp_path / "bench")
    (shard,) = (path for path in Path(array.path, "values", "c").rglob("*") if path.is_file())
    content = bytearray(shard.read_bytes())
    content[len(content) // 4] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ArrayError):
        write_originals([array], tmp_path / "back")
    assert not list((tmp_path / "back").rglob("*.dcm"))


def test_the_command_writes_the_instances_after_the_archive_is_gone(tmp_path: Path) -> None:
    phantom = phantoms.write_series(tmp_path / "dicom", planes=4, rows=5, columns=4)
    home, uid, folder = tmp_path / "bench", phantom.series_instance_uid, tmp_path / "back"

    def workbench(*words: str | Path, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*map(str, words), "--home", str(home)])
        assert result.exit_code == code, result.output
        return result.stdout + result.stderr

    workbench("index", tmp_path / "dicom")
    workbench("ingest", uid)
    stored = {str(ds.SOPInstanceUID): ds.pixel_array for _, ds in by_uid(phantom.paths).values()}
    for path in phantom.paths:
        path.unlink()
    told = json.loads(workbench("export", uid, "--dicom", folder, "--json"))
    assert sorted(told["paths"]) == sorted(str(folder / f"{each}.dcm") for each in stored)
    assert (told["left_out"], told["rejected"]) == ([], {})
    for each, (_, ds) in by_uid(tuple(map(Path, told["paths"]))).items():
        assert np.array_equal(ds.pixel_array, stored[each])
    assert "nothing is overwritten" in workbench("export", uid, "--dicom", folder, code=1)
    assert "4 files" in workbench("export", uid, "--dicom", tmp_path / "other", "--part", "0")
    assert "--nifti FILE or --dicom FOLDER" in workbench("export", uid, code=2)
    assert "part 3" in workbench("export", uid, "--dicom", folder, "--part", "3", code=1)
