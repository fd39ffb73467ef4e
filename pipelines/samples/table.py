"""The table of samples, and how they are written and found."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import CodecMissingError
from catalog.headers import read_dataset
from pipelines.samples import colour, derived, moving, multi_frame, projections, volumes
from pipelines.samples.parts import packaged


@dataclass(frozen=True, slots=True)
class Sample:
    """One kind of series: its folder's name, what it is in words, and how it is written."""

    name: str
    words: str
    write: Callable[[Path], object]


def write_samples(folder: Path) -> Path:
    """Write one series of every kind, a folder each, unless they are there.

    A video is left out where PyAV is not installed.
    """
    if folder.is_dir():
        return folder
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for sample in SAMPLES:
        target = partial / sample.name
        target.mkdir(parents=True)
        try:
            sample.write(target)
        except CodecMissingError:
            target.rmdir()
    partial.rename(folder)
    return folder


def series_of(folder: Path) -> dict[str, str]:
    """Series Instance UID of each sample by its name, as `write_samples` laid them out."""
    found = {}
    for sample in SAMPLES:
        path = next((folder / sample.name).rglob("*.dcm"), None)
        if path is not None:
            found[sample.name] = str(read_dataset(path).SeriesInstanceUID)
    return found


SAMPLES = (
    Sample("ct", "CT, oblique planes", volumes.ct),
    Sample("ct-tilted", "CT, tilted gantry", volumes.ct_tilted),
    Sample("ct-phases", "CT, phases of the heart", volumes.ct_phases),
    Sample("ct-enhanced", "CT, enhanced multi-frame", multi_frame.ct_enhanced),
    Sample("ct-concatenation", "CT, enhanced, in three instances", multi_frame.concatenation),
    Sample("mr-dynamic", "MR, contrast over time", volumes.mr_dynamic),
    Sample("mr-diffusion", "MR, diffusion", volumes.mr_diffusion),
    Sample("mr-echoes", "MR, three echoes", volumes.mr_echoes),
    Sample("mr-grid", "MR, grid of United Imaging", volumes.mr_grid),
    Sample("mr-enhanced", "MR, legacy converted", multi_frame.mr_enhanced),
    Sample("pet", "PET, a slope for each plane", volumes.pet),
    Sample("pet-enhanced", "PET, enhanced multi-frame", multi_frame.pet_enhanced),
    Sample("nuclear", "nuclear medicine, two detectors", projections.nuclear),
    Sample("tomosynthesis", "breast tomosynthesis", multi_frame.tomosynthesis),
    Sample("mammogram", "mammogram, MONOCHROME1", projections.mammogram),
    Sample("radiograph", "CR, MONOCHROME1", projections.radiograph),
    Sample("digital-radiograph", "DX", projections.digital_radiograph),
    Sample("angiogram", "angiogram, frame times", moving.angiogram),
    Sample("fluoroscopy", "RF, fluoroscopy", moving.fluoroscopy),
    Sample("ultrasound", "ultrasound cine, YBR in JPEG", packaged("examples_ybr_color.dcm")),
    Sample("ultrasound-volume", "ultrasound volume over time", multi_frame.us_volume),
    Sample("palette", "ultrasound, palette colour", packaged("examples_palette.dcm")),
    Sample("photograph", "fundus photograph", colour.photograph),
    Sample("oct", "OCT of a retina", colour.tomography_of_the_eye),
    Sample("skin", "dermatology, still", colour.skin),
    Sample("endoscopy", "endoscopy, still", colour.endoscopy),
    Sample("video", "endoscopy video, H.264", moving.video),
    Sample("slide", "whole slide, three levels", colour.slide),
    Sample("segmentation", "segmentation of two parts", derived.segmentation),
    Sample("parametric-map", "parametric map, float", derived.parametric_map),
    Sample("dose", "radiotherapy dose", packaged("rtdose.dcm")),
    Sample("structures", "radiotherapy structure set", packaged("rtstruct.dcm")),
    Sample("ecg", "12-lead ECG", packaged("waveform_ecg.dcm")),
)
"""In the order in which a tour would show them."""
