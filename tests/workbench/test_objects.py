"""What is no image of planes goes through the same doors: index, ingest, verify, volume."""

import csv
import hashlib
import json
import pickle
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import ome_zarr.io
import ome_zarr.reader
import pydicom
import pytest
import xarray as xr
import zarr
from click.testing import Result
from ome_zarr_models.v05.image import Image
from pydicom import uid
from pydicom.sr.codedict import codes
from typer.testing import CliRunner

import workbench
from catalog.errors import ArrayError, NotFoundError
from pipelines import phantoms
from pipelines.kinds import BY_SOP_CLASS, IMAGE, STORAGE, VIDEO, Way, kind_of
from pipelines.objects import file as objects
from pipelines.objects.dose import read_dose
from pipelines.objects.ingest import read_arrays
from pipelines.objects.parametric import read_parametric_map
from pipelines.objects.segmentations import read_segmentation
from pipelines.objects.waveforms import read_waveforms
from pipelines.volumes import stored_values
from workbench.cli import app
from workbench.session import Bench

KINDS = {
    "objects/seg/liver.dcm": ("segmentation", read_segmentation),
    "objects/seg/partial_overlaps.dcm": ("segmentation", read_segmentation),
    "objects/sr_tid1500/seg.dcm": ("segmentation", read_segmentation),
    "objects/parametric_map/parametric_map_float.dcm": ("parametric map", read_parametric_map),
    "objects/rt_small/rtdose.dcm": ("dose", read_dose),
    "objects/waveform/waveform_ecg.dcm": ("waveform", read_waveforms),
}
"""Real files, with the kind of array and the reader that says what is in it."""


def series_of(path: Path) -> str:
    return str(pydicom.dcmread(path, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)


def taken_up(bench: Bench, path: Path) -> str:
    """Index and ingest one file; its series."""
    bench.index(path, quiet=True)
    report = bench.ingest(series_of(path), quiet=True)
    assert report.rejected == ()
    return series_of(path)


def assert_as_read(found: xr.DataArray, read: xr.DataArray) -> None:
    """The same values, coordinates and attributes, bit by bit."""
    assert found.dtype == read.dtype
    own = {"part", "input_digest", "path", "metadata_digest"}
    assert {name: found.attrs[name] for name in found.attrs.keys() - own} == {
        name: each for name, each in read.attrs.items() if name not in own
    }
    xr.testing.assert_identical(found.compute().drop_attrs(), read.compute().drop_attrs())
    for name, coordinate in read.coords.items():
        assert found.coords[name].attrs == coordinate.attrs


@pytest.mark.parametrize("name", KINDS)
def test_a_real_object_comes_out_of_the_bench_as_its_reader_gives_it(
    any_bench: Bench, shared_data: Path, name: str
) -> None:
    kind, reader = KINDS[name]
    series = taken_up(any_bench, shared_data / name)
    arrays = any_bench.arrays(series)
    assert {each.kind for each in arrays} == {kind}
    verified = any_bench.verify(series, quiet=True)
    assert verified.mismatches == ()
    assert verified.frames >= len(arrays)
    read = reader(shared_data / name)
    read = read if isinstance(read, list) else [read]
    assert len(arrays) == len(read)
    for part, each in enumerate(read):
        found = any_bench.volume(series, part)
        assert found.chunks is not None
        assert_as_read(found, each)
        ds = xr.open_dataset(series, engine="workbench", home=any_bench.settings.home, part=part)
        assert_as_read(ds[each.name], each)


@pytest.mark.parametrize("name", KINDS)
def test_its_attributes_are_those_of_its_file_without_bulk_data(
    bench: Bench, shared_data: Path, name: str
) -> None:
    found = bench.volume(taken_up(bench, shared_data / name), 0).dicom.attributes
    header = pydicom.dcmread(shared_data / name, stop_before_pixels=True)
    for keyword in ("SOPInstanceUID", "PatientName", "StudyDate", "Manufacturer", "Rows", "DoseUnits"):
        assert found.get(keyword) == header.get(keyword), keyword
    assert len(found.get("SegmentSequence", [])) == len(header.get("SegmentSequence", []))
    assert not {"PixelData", "WaveformSequence", "PerFrameFunctionalGroupsSequence"} & set(found.dir())


def test_what_only_images_have_is_refused_in_words(bench: Bench, shared_data: Path) -> None:
    found = bench.volume(taken_up(bench, shared_data / "objects/seg/liver.dcm"))
    for ask in (found.dicom.shown, found.dicom.suv, lambda: found.dicom.frame_attributes):
        with pytest.raises(ArrayError, match="is an object of its own, no planes of images"):
            ask()


@pytest.mark.parametrize("name", [name for name, (kind, _) in KINDS.items() if kind == "segmentation"])
def test_segments_of_the_bench_have_the_voxels_that_their_makers_counted(
    bench: Bench, shared_data: Path, name: str
) -> None:
    answer = json.loads((shared_data / "answers/objects.json").read_text())[name]
    found = bench.volume(taken_up(bench, shared_data / name))
    counts = found.sum(("z", "y", "x")).values.tolist()
    assert dict(zip(map(str, found.segment.values), counts, strict=True)) == answer["voxels_by_segment"]
    assert found.segment_label.values.tolist() == [each["label"] for each in answer["segments"]]


def answer_of(shared_data: Path, name: str) -> dict[str, str]:
    with (shared_data / "answers/files.csv").open(newline="") as file:
        return next(row for row in csv.DictReader(file) if row["path"] == name)


def test_a_map_and_a_dose_of_the_bench_have_the_digests_of_their_pixels(
    bench: Bench, shared_data: Path
) -> None:
    name = "objects/parametric_map/parametric_map_float.dcm"
    found = bench.volume(taken_up(bench, shared_data / name))
    digest = hashlib.sha256(found.values.astype("<f4").tobytes()).hexdigest()
    assert digest[:16] == answer_of(shared_data, name)["sha256_pixels"]

    name = "objects/rt_small/rtdose.dcm"
    dose = bench.volume(taken_up(bench, shared_data / name))
    scaling = float(pydicom.dcmread(shared_data / name).DoseGridScaling)
    stored = np.rint(dose.values / scaling).astype("<u4")
    assert hashlib.sha256(stored.tobytes()).hexdigest()[:16] == answer_of(shared_data, name)["sha256_pixels"]
    assert dose.attrs["units"] == "relative"


@pytest.mark.parametrize("name", ["us_jpeg_34fr", "us_palette_rle_10fr", "us_ybr_jpeg_30fr", "xa_jpeg_96fr"])
def test_a_real_cine_goes_the_same_way_with_its_seconds(bench: Bench, shared_data: Path, name: str) -> None:
    answer = answer_of(shared_data, f"cine/{name}.dcm")
    series = taken_up(bench, shared_data / f"cine/{name}.dcm")
    verified = bench.verify(series, quiet=True)
    assert (verified.frames, verified.mismatches) == (int(answer["NumberOfFrames"]), ())
    (array,) = bench.arrays(series)
    stored = stored_values(array)
    assert "x".join(map(str, stored.shape)) == answer["shape"]
    steps = np.diff(bench.volume(series).time)
    assert steps == pytest.approx(float(steps[0]), rel=1e-3)
    assert 0.02 < steps[0] < 0.1
    if "rle" in name:
        digest = hashlib.sha256(stored.values.tobytes()).hexdigest()
        assert digest[:16] == answer["sha256_pixels"]
    else:  # decoders of lossy JPEG round differently
        ends = float(stored.min()), float(stored.max())
        assert ends == pytest.approx((float(answer["min"]), float(answer["max"])), abs=8)


def test_an_ecg_has_channels_over_seconds_in_microvolts_and_a_part_for_each_group(
    bench: Bench, shared_data: Path
) -> None:
    path = shared_data / "objects/waveform/waveform_ecg.dcm"
    series = taken_up(bench, path)
    assert [each.label for each in bench.arrays(series)] == ["waveform 1, RHYTHM", "waveform 1, MEDIAN BEAT"]
    rhythm = bench.volume(series, 0)
    assert rhythm.dims == ("channel", "time")
    assert rhythm.attrs["units"] == "uV"
    assert rhythm.time.attrs["units"] == "s"
    group = pydicom.dcmread(path).WaveformSequence[0]
    samples = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12)
    sensitivity = float(group.ChannelDefinitionSequence[0].ChannelSensitivity)
    assert np.array_equal(rhythm.values[0], samples[:, 0] * sensitivity)
    with pytest.raises(NotFoundError, match="choose one of: part=0: waveform 1, RHYTHM"):
        bench.volume(series)


# --- objects that are made here --------------------------------------------------------------------------


def segmented(path: Path, ct: phantoms.Phantom, pixels: np.ndarray[Any, Any], kind: str, count: int) -> Path:
    """A SEG by highdicom; pixels (z, y, x, segment), or labels (z, y, x)."""
    segments = [
        highdicom.seg.SegmentDescription(
            number, f"part {number}", codes.SCT.Organ, codes.SCT.Kidney, "MANUAL"
        )
        for number in range(1, count + 1)
    ]
    seg = highdicom.seg.Segmentation(
        [pydicom.dcmread(each) for each in ct.paths], pixels, kind, segments,
        series_instance_uid=highdicom.UID(), series_number=9, sop_instance_uid=highdicom.UID(),
        instance_number=1, manufacturer="m", manufacturer_model_name="n", software_versions="1",
        device_serial_number="2",
    )  # fmt: skip
    seg.save_as(path)
    if db := getattr(seg, "_db_con", None):
        db.close()
    return path


def mapped(path: Path, ct: phantoms.Phantom, pixels: np.ndarray[Any, Any]) -> Path:
    """A parametric map by highdicom, of 2 mm2/s a stored value and more for integers."""
    is_whole = pixels.dtype.kind == "u"
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label="first", lut_explanation="first", unit=codes.UCUM.SquareMillimeterPerSecond,
        slope=2.0 if is_whole else 1.0, intercept=1.0 if is_whole else 0.0,
        value_range=(0, 4000) if is_whole else (-4000.0, 4000.0),
    )  # fmt: skip
    found = highdicom.pm.ParametricMap(
        [pydicom.dcmread(each) for each in ct.paths], pixels, highdicom.UID(), 9, highdicom.UID(), 1,
        "m", "n", "1", "2", contains_recognizable_visual_features=False, real_world_value_mappings=[mapping],
        voi_lut_transformations=[highdicom.VOILUTTransformation(window_center=1.0, window_width=2.0)],
    )  # fmt: skip
    found.save_as(path)
    if db := getattr(found, "_db_con", None):
        db.close()
    return path


def test_fractions_labels_and_maps_of_every_type_come_back_where_they_were_made(
    bench: Bench, tmp_path: Path
) -> None:
    ct = phantoms.write_series(tmp_path / "ct", orientation=(0, 1, 0, 0, 0, -1))
    random, shape = np.random.default_rng(0), ct.stored.shape
    fractions = np.round(random.random((*shape, 2)) * 255) / 255
    labels = random.integers(0, 3, shape).astype(np.uint8)
    whole = random.integers(0, 4000, shape).astype(np.uint16)
    floats = random.normal(size=shape)
    cases: list[tuple[Path, np.ndarray[Any, Any], Any]] = [
        (segmented(tmp_path / "f.dcm", ct, fractions, "FRACTIONAL", 2), np.moveaxis(fractions, 3, 0), "f4"),
        (segmented(tmp_path / "l.dcm", ct, labels, "LABELMAP", 2), labels, "u1"),
        (mapped(tmp_path / "i.dcm", ct, whole), whole * 2.0 + 1, "f4"),
        (mapped(tmp_path / "s.dcm", ct, floats.astype("f4")), floats.astype("f4"), "f4"),
        (mapped(tmp_path / "d.dcm", ct, floats), floats, "f8"),
    ]
    for path, values, dtype in cases:
        series = taken_up(bench, path)
        assert bench.verify(series, quiet=True).mismatches == ()
        found = bench.volume(series)
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_allclose(found.values, values.astype(dtype), atol=1e-6)
        assert np.allclose(found.dicom.affine_lps, ct.affine_lps, atol=1e-4)


def test_several_objects_of_a_series_are_parts_in_the_order_of_their_numbers(
    bench: Bench, shared_data: Path, tmp_path: Path
) -> None:
    for number in (10, 9):
        ds = pydicom.dcmread(shared_data / "objects/rt_small/rtdose.dcm")
        ds.InstanceNumber, ds.SOPInstanceUID = number, f"2.25.{number}"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(tmp_path / f"{number}.dcm")
    bench.index(tmp_path, quiet=True)
    report = bench.ingest(quiet=True)
    assert [(each.part, each.label) for each in report] == [(0, "dose 9"), (1, "dose 10")]
    assert bench.volume(ds.SeriesInstanceUID, 1).attrs["object_sop_instance_uid"] == "2.25.10"


def test_a_large_segmentation_is_never_held_whole(bench: Bench, tmp_path: Path) -> None:
    planes, segments, side = 64, 12, 512
    path = sparse_segmentation(tmp_path / "seg.dcm", planes, segments, side)
    bench.index(path, quiet=True)
    tracemalloc.start()
    try:
        (array,) = bench.ingest(quiet=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert array.shape == (segments, planes, side, side)
    assert peak < planes * segments * side * side / 4
    assert int(bench.volume(array.series_instance_uid).sum()) == planes * segments


def test_a_deflated_segmentation_is_passed_once_and_not_for_every_slab(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sparse_segmentation(tmp_path / "seg.dcm", planes=70, segments=3, side=64)
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    ds.save_as(path)
    bench.index(path, quiet=True)
    opened, open_frames = [], objects.open_frames

    def counting(instance: Any) -> Any:
        opened.append(instance)
        return open_frames(instance)

    monkeypatch.setattr(objects, "open_frames", counting)
    (array,) = bench.ingest(quiet=True)
    assert len(opened) == 2  # once to see that nothing is cut
    assert bench.verify(quiet=True).mismatches == ()
    assert int(bench.volume(array.series_instance_uid).sum()) == 210
    read = read_segmentation(path)
    assert np.array_equal(pickle.loads(pickle.dumps(read)), read)


def sparse_segmentation(path: Path, planes: int, segments: int, side: int) -> Path:
    """A SEG of one voxel for each segment and plane."""
    ds = segmentation_header(segments)
    ds.Rows = ds.Columns = side
    ds.NumberOfFrames = planes * segments
    frames = np.zeros((planes * segments, side * side // 8), np.uint8)
    frames[:, 0] = 1
    ds.PixelData = frames.tobytes()
    groups = []
    for number in range(segments):
        for plane in range(planes):
            segment, position, group = (pydicom.Dataset() for _ in range(3))
            segment.ReferencedSegmentNumber = number + 1
            position.ImagePositionPatient = [0, 0, plane]
            group.SegmentIdentificationSequence, group.PlanePositionSequence = [segment], [position]
            groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    ds.save_as(path, enforce_file_format=True)
    return path


def segmentation_header(segments: int) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = uid.SegmentationStorage, "2.25.11"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "2.25.12", "2.25.13", "SEG"
    ds.SegmentationType, ds.PhotometricInterpretation, ds.SamplesPerPixel = "BINARY", "MONOCHROME2", 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
    items = []
    for number in range(segments):
        item = pydicom.Dataset()
        item.SegmentNumber, item.SegmentLabel = number + 1, f"part {number + 1}"
        items.append(item)
    ds.SegmentSequence = items
    orientation, measures, shared = (pydicom.Dataset() for _ in range(3))
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SpacingBetweenSlices = [1, 1], 1
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    return ds


def test_objects_lie_in_a_bucket_as_they_do_in_a_folder(
    tmp_path: Path, shared_data: Path, s3_server: Any
) -> None:
    where = s3_server.address(f"objects/{tmp_path.name}")
    with workbench.open(tmp_path / "bench", arrays=where) as bench:
        for name in ("objects/seg/partial_overlaps.dcm", "objects/waveform/waveform_ecg.dcm"):
            series = taken_up(bench, shared_data / name)
            kept = list(bench.arrays(series))
            assert all(each.path.startswith("s3://") for each in kept)
            assert list(bench.ingest(series, quiet=True)) == kept
            assert bench.verify(series, quiet=True).mismatches == ()
            reader = KINDS[name][1]
            read = reader(shared_data / name)
            assert_as_read(bench.volume(series, 0), read[0] if isinstance(read, list) else read)


# --- to other programs -----------------------------------------------------------------------------------


def exported(bench: Bench, series: str, *words: str, code: int = 0) -> Result:
    """Type the command."""
    home = str(bench.settings.home)
    result = CliRunner().invoke(app, ["export", series, "--nifti", *words, "--home", home])
    assert result.exit_code == code, result.output
    return result


def test_segments_are_exported_as_labels_and_overlapping_ones_as_a_volume_each(
    bench: Bench, shared_data: Path, tmp_path: Path
) -> None:
    for name in ("liver", "partial_overlaps"):
        series = taken_up(bench, shared_data / f"objects/seg/{name}.dcm")
        exported(bench, series, str(tmp_path / f"{name}.nii.gz"))
    liver: Any = nibabel.load(tmp_path / "liver.nii.gz")
    assert liver.get_data_dtype() == np.uint8
    assert np.bincount(np.asarray(liver.dataobj).ravel()).tolist()[1:] == [107098]
    overlapping: Any = nibabel.load(tmp_path / "partial_overlaps.nii.gz")
    counts = np.asarray(overlapping.dataobj).sum(axis=(0, 1, 2), dtype=int)
    assert counts.tolist() == [9602, 11888, 10743, 6693, 4713]


def test_maps_and_doses_are_exported_with_their_values(
    bench: Bench, shared_data: Path, tmp_path: Path
) -> None:
    for name in ("objects/parametric_map/parametric_map_float.dcm", "objects/rt_small/rtdose.dcm"):
        series = taken_up(bench, shared_data / name)
        target = tmp_path / f"{series}.nii"
        exported(bench, series, str(target))
        image: Any = nibabel.load(target)
        volume = bench.volume(series)
        assert np.array_equal(np.asarray(image.dataobj).T, volume)
        assert np.allclose(image.affine, np.diag([-1, -1, 1, 1]) @ volume.dicom.affine_lps, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "axes", "scale"),
    [
        ("objects/seg/partial_overlaps.dcm", ["segment", "z", "y", "x"], [1, 1, 0.810547, 0.810547]),
        ("objects/rt_small/rtdose.dcm", ["z", "y", "x"], [5, 10, 10]),
    ],
)
def test_other_viewers_find_segments_and_doses_in_millimetres(
    bench: Bench, shared_data: Path, name: str, axes: list[str], scale: list[float]
) -> None:
    (array,) = bench.arrays(taken_up(bench, shared_data / name))
    (image,) = Image.from_zarr(zarr.open_group(array.path, mode="r")).ome_attributes.multiscales
    assert [each.name for each in image.axes] == axes
    assert [each.unit for each in image.axes[-3:]] == ["millimeter"] * 3
    assert image.datasets[0].coordinateTransformations[0].scale == pytest.approx(scale, rel=1e-5)
    (node, *_) = ome_zarr.reader.Reader(ome_zarr.io.parse_url(array.path))()
    volume = bench.volume(array.series_instance_uid)
    assert np.array_equal(np.asarray(node.data[0]), volume)


def test_a_waveform_is_no_nifti_and_says_why(bench: Bench, shared_data: Path, tmp_path: Path) -> None:
    series = taken_up(bench, shared_data / "objects/waveform/waveform_ecg.dcm")
    result = exported(bench, series, str(tmp_path / "ecg.nii"), "--part", "0", code=1)
    assert result.stderr == (
        "workbench: NIfTI holds regular volumes, and this is none: "
        "its dimensions are channel, time, not z, y, x\n"
    )


# --- what must always hold -------------------------------------------------------------------------------


def test_an_object_that_is_ingested_again_stays_as_it_is(bench: Bench, shared_data: Path) -> None:
    states = []
    for _ in range(2):
        for name in KINDS:
            taken_up(bench, shared_data / name)
        files = sorted(bench.settings.arrays_folder.rglob("*"))
        states.append(([each.stat().st_mtime_ns for each in files], files, list(bench.arrays())))
    assert states[0] == states[1]


def test_what_is_stopped_before_it_is_published_leaves_no_array(
    bench: Bench, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared_data / "objects/rt_small/rtdose.dcm"
    bench.index(path, quiet=True)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("catalog.durable.publish", stop)
        with pytest.raises(KeyboardInterrupt):
            bench.ingest(quiet=True)
    assert list(bench.arrays()) == []
    assert_as_read(bench.volume(series_of(path)), read_dose(path))


def test_a_process_that_is_killed_before_it_publishes_leaves_no_row(bench: Bench, shared_data: Path) -> None:
    path = shared_data / "objects/seg/partial_overlaps.dcm"
    bench.index(path, quiet=True)
    code = (
        "import os, signal, workbench\n"
        f"bench = workbench.open({str(bench.settings.home)!r})\n"
        "os.replace = os.rename = lambda *names: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from pathlib import Path\n"
        "Path.replace = Path.rename = os.replace\n"
        "bench.ingest(quiet=True)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=root)
    assert done.returncode == -signal.SIGKILL
    assert list(bench.arrays()) == []
    assert_as_read(bench.volume(series_of(path)), read_segmentation(path))
    assert bench.verify(quiet=True).mismatches == ()


@pytest.fixture
def copies(bench: Bench, shared_data: Path, tmp_path: Path) -> dict[str, Path]:
    """Copies of a file of every kind, ingested; name to path."""
    folder = tmp_path / "copies"
    folder.mkdir()
    found = {}
    for name in ("objects/seg/liver.dcm", "objects/rt_small/rtdose.dcm", "objects/waveform/waveform_ecg.dcm"):
        found[name] = folder / Path(name).name
        found[name].write_bytes((shared_data / name).read_bytes())
        taken_up(bench, found[name])
    return found


def flipped(path: Path, check: Callable[[], None], positions: int = 6) -> None:
    content = path.read_bytes()
    random = np.random.default_rng(len(content))
    for position in sorted({0, len(content) - 1, *random.integers(0, len(content), positions).tolist()}):
        altered = bytearray(content)
        altered[position] ^= 1 << int(random.integers(8))
        path.write_bytes(altered)
        check()
    path.write_bytes(content)


def test_a_flipped_byte_of_an_object_names_the_file(bench: Bench, copies: dict[str, Path]) -> None:
    for path in copies.values():
        series = series_of(path)
        instance = str(pydicom.dcmread(path).SOPInstanceUID)

        def check(series: str = series, path: Path = path, instance: str = instance) -> None:
            found = bench.verify(series, quiet=True).mismatches
            assert {(each.path, each.sop_instance_uid) for each in found} == {(str(path), instance)}
            assert found[0].what == "bytes differ from those that were ingested"

        flipped(path, check)
        assert bench.verify(series, quiet=True).mismatches == ()


def test_a_flipped_byte_of_an_objects_array_names_its_file(bench: Bench, copies: dict[str, Path]) -> None:
    for path in copies.values():
        series = series_of(path)
        for array in bench.arrays(series):
            shards = [each for each in Path(array.path, "values/c").rglob("*") if each.is_file()]
            beside = ("zarr.json", "values/zarr.json", "dicom.json")
            for file in (shards[0], *(Path(array.path, each) for each in beside)):

                def check(series: str = series, file: Path = file) -> None:
                    found = bench.verify(series, quiet=True).mismatches
                    assert {each.path for each in found} == {str(file)}

                flipped(file, check)


def test_a_lost_or_altered_array_of_an_object_does_not_open_and_is_made_again(
    bench: Bench, copies: dict[str, Path]
) -> None:
    from pipelines.volumes import open_array

    path = copies["objects/rt_small/rtdose.dcm"]
    (array,) = bench.arrays(series_of(path))
    next(each for each in Path(array.path, "values/c").rglob("*") if each.is_file()).unlink()
    with pytest.raises(ArrayError, match="missing or cut"):
        open_array(array)
    assert any("missing" in each.what for each in bench.verify(series_of(path), quiet=True).mismatches)
    assert_as_read(bench.volume(series_of(path)), read_dose(path))


def test_an_object_whose_file_changed_since_the_index_is_refused(
    bench: Bench, copies: dict[str, Path]
) -> None:
    path = copies["objects/rt_small/rtdose.dcm"]
    ds = pydicom.dcmread(path)
    ds.DoseGridScaling = "2"
    ds.save_as(path)
    for array in bench.arrays(series_of(path)):
        next(each for each in Path(array.path, "values/c").rglob("*") if each.is_file()).unlink()
    (rejected,) = bench.ingest(series_of(path), quiet=True).rejected
    assert rejected.reason == "changed since it was indexed; run the index again"
    assert rejected.path == str(path)


def test_an_object_that_contradicts_itself_is_a_value_with_its_reason(
    bench: Bench, shared_data: Path, tmp_path: Path
) -> None:
    ds = pydicom.dcmread(shared_data / "objects/rt_small/rtdose.dcm")
    del ds.DoseUnits
    ds.save_as(tmp_path / "dose.dcm")
    bench.index(tmp_path, quiet=True)
    report = bench.ingest(quiet=True)
    assert list(report) == []
    assert [each.reason for each in report.rejected] == ["has no Dose Units (3004,0002) of GY or RELATIVE"]


# --- what is no array ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "instead"),
    [
        ("objects/pdf/sample-pdf.dcm", "a document", "Encapsulated Document"),
        ("objects/sr/sample-sr.dcm", "a structured report", "highdicom.sr.srread"),
        ("objects/presentation_state/prLUTs.dcm", "a presentation state", "series of the images"),
        ("objects/rt_small/rtplan.dcm", "an RT plan", "series of their own"),
        ("objects/rt_small/rt.dcm", "a structure set", "bench.structures"),
        ("objects/sr_tid1500/rwvm.dcm", "a real world value map", "the series that it refers to"),
    ],
)
def test_what_is_no_array_says_what_it_is_and_what_to_do(
    bench: Bench, shared_data: Path, name: str, kind: str, instead: str
) -> None:
    path = shared_data / name
    bench.index(path, quiet=True)
    (rejected,) = bench.ingest(quiet=True).rejected
    assert rejected.reason.startswith(kind)
    assert instead in rejected.reason
    with pytest.raises(NotFoundError) as raised:
        bench.volume(series_of(path))
    assert str(raised.value) == f"series {series_of(path)} has no array: {rejected.reason}"


def test_an_icon_is_no_image_of_what_has_none(bench: Bench, shared_data: Path, tmp_path: Path) -> None:
    ds = pydicom.dcmread(shared_data / "objects/pdf/sample-pdf.dcm")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    icon = pydicom.Dataset()
    icon.Rows = icon.Columns = 8
    icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
    icon.BitsAllocated, icon.BitsStored, icon.HighBit, icon.PixelRepresentation = 8, 8, 7, 0
    icon.PixelData = bytes(64)
    ds.IconImageSequence = [icon]
    ds.save_as(tmp_path / "icon.dcm")
    bench.index(tmp_path, quiet=True)
    report = bench.ingest(quiet=True)
    assert list(report) == []
    assert "has no pixel data (Secondary Capture Image Storage)" in report.rejected[0].reason


# --- the table -------------------------------------------------------------------------------------------


def test_each_row_of_the_table_names_a_reader_that_is_there(tmp_path: Path) -> None:
    for kind in {VIDEO, *BY_SOP_CLASS.values()}:
        assert bool(kind.instead) == (kind.way in (Way.NONE, Way.ARCHIVE))
        if kind.way in (Way.OBJECT, Way.VIDEO):
            with pytest.raises(ValueError, match="file"):
                read_arrays(kind, str(tmp_path / "nothing.dcm"))


@pytest.mark.parametrize(
    ("sop_class", "transfer_syntax", "name"),
    [
        (uid.SegmentationStorage, uid.RLELossless, "segmentation"),
        (f"{STORAGE}66.7", uid.ExplicitVRLittleEndian, "segmentation"),
        (uid.GeneralECGWaveformStorage, uid.ExplicitVRLittleEndian, "waveform"),
        (uid.CTImageStorage, uid.ExplicitVRLittleEndian, IMAGE.name),
        (uid.RTImageStorage, uid.ExplicitVRLittleEndian, IMAGE.name),
        (uid.VideoEndoscopicImageStorage, uid.MPEG4HP41, "video"),
        (uid.VideoEndoscopicImageStorage, uid.JPEGBaseline8Bit, IMAGE.name),
        (uid.UltrasoundMultiFrameImageStorage, uid.HEVCMP51, "video"),
        (uid.VLWholeSlideMicroscopyImageStorage, uid.JPEGBaseline8Bit, "a whole slide"),
        ("1.2.3", uid.ExplicitVRLittleEndian, IMAGE.name),
    ],
)
def test_the_transfer_syntax_tells_a_video_and_the_sop_class_the_rest(
    sop_class: str, transfer_syntax: str, name: str
) -> None:
    assert kind_of(sop_class, transfer_syntax).name == name
