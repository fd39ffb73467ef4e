"""Volumes of single images: oblique, tilted, over time, with b-values, and PET."""

from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
from pydicom.dataset import Dataset

from pipelines import phantoms
from pipelines.phantoms import known_uid
from pipelines.samples.parts import (
    ball,
    head,
    rewrite,
    sphere_series,
)

UPTAKE_PER_TIME = (0, 40, 180, 320, 400, 420, 410, 395)
"""What the sphere of the dynamic series rises by at each time point, in stored values."""
SECONDS_PER_TIME = 12.0
B_VALUES = (0, 500, 1000)
ADC_MM2_PER_S = 0.001
"""Apparent diffusion coefficient of the sphere of the diffusion series."""
TILT_DEGREES = 18.0
SUV_IN_SPHERE = 8.0
ECHO_TIMES_MS = (5.0, 15.0, 30.0)
PHASES_PERCENT = (0.0, 25.0, 50.0, 75.0)


def ct(folder: Path) -> None:
    """Planes that lie obliquely in the patient."""
    sphere_series(folder, "CT, oblique", orientation=(0.8, 0.6, 0.0, 0.0, 0.0, -1.0))


def ct_tilted(folder: Path) -> None:
    """Planes whose stacking leans away from their normal, as with a tilted gantry."""
    phantom = sphere_series(folder, "CT, tilted gantry")
    lean = np.tan(np.radians(TILT_DEGREES))
    for index, path in enumerate(phantom.paths):
        ds = pydicom.dcmread(path)
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, round(y + index * 2.0 * lean, 6), z]
        ds.GantryDetectorTilt = TILT_DEGREES
        ds.save_as(path)


def mr_dynamic(folder: Path) -> None:
    """Contrast that runs in: one volume each 12 s, the sphere brighter by `UPTAKE_PER_TIME`."""
    base = head((12, 96, 96), noise=6)
    inside = ball(base.shape, 12)
    for time, rise in enumerate(UPTAKE_PER_TIME):
        phantom = phantoms.write_series(
            folder / f"{time}", stored=np.where(inside, base + rise, base).astype(np.uint16),
            modality="MR", description="MR, contrast running in", intercept=0.0, study="samples", seed=time,
            spacing=(2.0, 2.0), distance=4.0,
        )  # fmt: skip
        seconds = 15 * 60 + time * SECONDS_PER_TIME
        rewrite(
            phantom.paths,
            SeriesInstanceUID=known_uid("samples", "dynamic"),
            AcquisitionTime=f"10{int(seconds // 60):02}{seconds % 60:05.2f}",
            TemporalPositionIdentifier=time + 1,
            NumberOfTemporalPositions=len(UPTAKE_PER_TIME),
        )


def mr_diffusion(folder: Path) -> None:
    """b-values 0, 500 and 1000 s/mm2; the sphere falls by exp(-b ADC)."""
    base = head((12, 96, 96)).astype(float)
    inside = ball(base.shape, 12)
    for number, b_value in enumerate(B_VALUES):
        stored = np.where(inside, 2000 * np.exp(-b_value * ADC_MM2_PER_S), base * np.exp(-b_value * 0.0025))
        phantom = phantoms.write_series(
            folder / f"{number}", stored=np.rint(stored).astype(np.uint16), modality="MR",
            description="MR, diffusion", intercept=0.0, study="samples", seed=number,
            spacing=(2.0, 2.0), distance=4.0,
        )  # fmt: skip
        rewrite(
            phantom.paths,
            SeriesInstanceUID=known_uid("samples", "diffusion"),
            DiffusionBValue=float(b_value),
            DiffusionDirectionality="NONE" if b_value == 0 else "ISOTROPIC",
            AcquisitionNumber=number + 1,
        )


def pet(folder: Path) -> None:
    """A slope for each plane, and what the standardized uptake value needs."""
    activity = np.full((20, 96, 96), 2500.0)
    activity[ball(activity.shape, 14)] = SUV_IN_SPHERE * 370e6 * 0.5 / 70_000
    slopes = 1.0 + np.arange(20) * 0.05
    stored = np.clip(np.rint(activity / slopes[:, None, None] / 10), 0, 4095).astype(np.uint16)
    phantom = phantoms.write_series(
        folder, stored=stored, modality="PT", description="PET", intercept=0.0, study="samples",
        spacing=(3.0, 3.0), distance=3.0,
    )  # fmt: skip
    tracer = Dataset()
    tracer.Radiopharmaceutical = "FDG"
    tracer.RadiopharmaceuticalStartTime = "082512.00"
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = 370e6, 6588.0
    for slope, path in zip(slopes, phantom.paths, strict=True):
        rewrite(
            [path],
            RescaleSlope=round(float(slope) * 10, 6),
            Units="BQML",
            DecayCorrection="START",
            CorrectedImage=["ATTN", "DECY", "SCAT"],
            PatientWeight=70.0,
            SeriesType=["WHOLE BODY", "IMAGE"],
            RadiopharmaceuticalInformationSequence=[tracer],
        )


def mr_echoes(folder: Path) -> None:
    """Three echoes of each plane; what is bright falls with the echo time."""
    for number, echo_ms in enumerate(ECHO_TIMES_MS):
        decay = np.exp(-echo_ms / 40)
        phantom = phantoms.write_series(
            folder / f"{number}", stored=np.rint(head((12, 96, 96)) * decay).astype(np.uint16), modality="MR",
            description="MR, three echoes", intercept=0.0, study="samples", seed=number, spacing=(2.0, 2.0),
            distance=4.0,
        )  # fmt: skip
        rewrite(
            phantom.paths,
            SeriesInstanceUID=known_uid("samples", "echoes"),
            EchoTime=echo_ms,
            EchoNumbers=number + 1,
        )


def ct_phases(folder: Path) -> None:
    """The heart at four parts of its beat; the sphere shrinks and grows."""
    for number, percent in enumerate(PHASES_PERCENT):
        stored = phantoms.sphere(
            (16, 96, 96), (2.0, 1.0, 1.0), radius_mm=14 + 2 * number, body=1064, noise=15
        )
        phantom = phantoms.write_series(
            folder / f"{number}", stored=stored, spacing=(1.0, 1.0), distance=2.0, description="CT, heart",
            study="samples", seed=number,
        )  # fmt: skip
        rewrite(
            phantom.paths,
            SeriesInstanceUID=known_uid("samples", "heart"),
            NominalPercentageOfCardiacPhase=percent,
        )


def mr_grid(folder: Path) -> None:
    """Nine planes of each time in one image, as United Imaging writes them."""
    planes = head((9, 48, 48))
    tiled = planes.reshape(3, 3, 48, 48).swapaxes(1, 2).reshape(144, 144)
    phantom = phantoms.write_series(
        folder, stored=np.stack([tiled, tiled // 2]), modality="MR", description="MR, grid", intercept=0.0,
        study="samples", spacing=(4.0, 4.0),
    )  # fmt: skip
    for time, path in enumerate(phantom.paths):
        ds = pydicom.dcmread(path)
        ds.ImageType, ds.Manufacturer = ["ORIGINAL", "PRIMARY", "M", "VFRAME"], "UIH"
        ds.AcquisitionTime = f"1015{10 + 2 * time}"
        places = [Dataset() for _ in planes]
        for number, place in enumerate(places):
            place.ImagePositionPatient = [-96.0, -96.0, 4.0 * number]
        ds.ImagePositionPatient = places[0].ImagePositionPatient
        block = ds.private_block(0x0065, "Image Private Header", create=True)
        block.add_new(0x50, "DS", str(len(planes)))
        block.add_new(0x51, "SQ", places)
        ds.save_as(path)
