"""Standardized uptake values of PET: what the header must say, and the factor; no pixel data.

SUVbw = activity concentration (Bq/ml) × body weight (g) / injected activity (Bq), the latter decayed to the
time that the concentration is corrected to (PS3.3 C.8.9.1; the order of times is that of the QIBA profile).
Lean body mass or body surface take the place of body weight by `pipelines.pet.body`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydicom import Dataset
from pydicom.valuerep import DA, DT, TM

from catalog.errors import HeaderError
from catalog.headers import read_dataset
from pipelines.objects.file import named, numbers
from pipelines.pet.body import NORMALISATIONS, Body, relative_size

LONGEST_DECAY = timedelta(days=7)
"""Between injection and scan; no PET tracer is imaged later, so a longer time is a fault of the dates."""

_GE_SCAN_TIME = ("GEMS_PETD_01", 0x0009, 0x0D)
_PHILIPS_SUV_FACTOR = ("Philips PET Private Group", 0x7053, 0x00)
_PHILIPS_ACTIVITY_FACTOR = ("Philips PET Private Group", 0x7053, 0x09)


@dataclass(frozen=True, slots=True)
class Uptake:
    """What the factor of one series is made of; valid once built."""

    patient_weight_kg: float
    """Patient's Weight (0010,1030)."""
    total_dose_bq: float
    """Radionuclide Total Dose (0018,1074), at the time of injection."""
    half_life_s: float
    """Radionuclide Half Life (0018,1075)."""
    decay: timedelta
    """From injection to the time that voxels are decay corrected to; zero for Decay Correction `ADMIN`."""
    activity_factor: float = 1.0
    """Bq/ml for a modality value of 1."""

    def __post_init__(self) -> None:
        checks = {
            "Patient's Weight (0010,1030)": self.patient_weight_kg,
            "Radionuclide Total Dose (0018,1074)": self.total_dose_bq,
            "Radionuclide Half Life (0018,1075)": self.half_life_s,
            "activity concentration scale": self.activity_factor,
        }
        for name, value in checks.items():
            if not 0 < value < math.inf:
                raise HeaderError(f"no uptake: {name} must be above 0, got {value:g}")
        if not timedelta(0) <= self.decay <= LONGEST_DECAY:
            raise HeaderError(
                f"no uptake: the scan is {self.decay} after the injection; check the dates and times"
            )

    @property
    def factor(self) -> float:
        """SUVbw, in g/ml, for a modality value of 1."""
        decayed_bq = self.total_dose_bq * 2 ** (-self.decay.total_seconds() / self.half_life_s)
        return self.activity_factor * self.patient_weight_kg * 1000 / decayed_bq


def suv_factor(ds: Dataset, by: str = "BW") -> float:
    """Number that turns the modality values of a PET series into SUV, from the header of any of its images.

    It is normalised by body weight, or by what else `pipelines.pet.body.NORMALISATIONS` has under the words
    of SUV Type: `LBMJAMES128`, `LBMJANMA` (both with Patient's Size (0010,1020) and Sex (0010,0040)) or `BSA`
    (with Patient's Size).

    Units (0054,1001) decide: BQML is computed as `Uptake` says, with Decay Correction (0054,1102) START
    (to the start of the series) or ADMIN (to the injection) and both ATTN and DECY in Corrected Image
    (0028,0051); GML is SUVbw already unless SUV Type (0054,1006) names another; CNTS need the
    private factor of Philips, (7053,xx00) to SUVbw or (7053,xx09) to Bq/ml.

    The injection is Radiopharmaceutical Start DateTime (0018,1078), or Start Time (0018,1072) on the day of
    the scan, the day before where it would be later than the scan. The scan begins at Series Date and Time
    where they are not after this image's acquisition, else at the private time of GE, else at the
    acquisition less Frame Reference Time (0054,1300) plus the time of the average count rate in the frame.

    Raises
    ------
    HeaderError
        If the values have no uptake: the text names every attribute that is missing.
    """
    stored = str(ds.get("SUVType") or "BW")
    if ds.get("Units") == "GML" and stored == by:
        return 1.0
    if ds.get("Units") == "GML" and stored != "BW":
        raise HeaderError(f"no uptake by {by}: SUV Type (0054,1006) is {stored[:16]!r}")
    weight, size = (numbers(ds.get(keyword)) for keyword in ("PatientWeight", "PatientSize"))
    body = Body(weight[0] if weight else None, size[0] if size else None, str(ds.get("PatientSex") or ""))
    return relative_size(body, by) * _by_weight(ds)


def _by_weight(ds: Dataset) -> float:
    units = str(ds.get("Units") or "")
    if units == "GML":
        return 1.0
    if units == "CNTS" and (factor := _private(ds, _PHILIPS_SUV_FACTOR)):
        return factor
    if units == "CNTS":
        activity = _private(ds, _PHILIPS_ACTIVITY_FACTOR)
        if not activity:
            raise HeaderError(
                "no uptake: counts (CNTS) without the private SUV or activity factor of Philips (7053)"
            )
        return _uptake(ds, activity).factor
    if units != "BQML":
        raise HeaderError(f"no uptake: Units (0054,1001) are {units[:16]!r}, not BQML, GML or CNTS")
    return _uptake(ds, 1.0).factor


def read_suv_factor(path: str | Path, by: str = "BW") -> float:
    """Read the factor of `suv_factor` from one image of a PET series.

    Raises
    ------
    HeaderError
        If the file is no readable DICOM, or has no uptake.
    """
    with named(path):
        return suv_factor(read_dataset(path), by)


def as_suv(volume: xr.DataArray, factor: float, by: str = "BW") -> xr.DataArray:
    """Modality values times the factor, lazily; type, coordinates and attributes are kept but `units`."""
    values: xr.DataArray = volume * np.asarray(factor, volume.dtype)
    units = NORMALISATIONS[by].units
    return values.assign_attrs(volume.attrs | {"units": units, "suv_factor": factor}).rename("suv")


# --- from the header -------------------------------------------------------------------------------------


def _uptake(ds: Dataset, activity_factor: float) -> Uptake:
    tracer = (ds.get("RadiopharmaceuticalInformationSequence") or (Dataset(),))[0]
    missing = list(_missing(ds, tracer))
    if missing:
        raise HeaderError(f"no uptake: the header lacks {', '.join(missing)}")
    correction = str(ds.DecayCorrection)
    if correction not in ("START", "ADMIN"):
        raise HeaderError(
            f"no uptake: Decay Correction (0054,1102) is {correction[:16]!r}, not START or ADMIN"
        )
    half_life_s = float(tracer.RadionuclideHalfLife)
    decay = timedelta(0)
    if correction == "START":
        scan = _scan_start(ds, half_life_s)
        decay = scan - _injection(tracer, scan)
    return Uptake(
        float(ds.PatientWeight), float(tracer.RadionuclideTotalDose), half_life_s, decay, activity_factor
    )


def _missing(ds: Dataset, tracer: Dataset) -> Iterator[str]:
    corrected = ds.get("CorrectedImage") or ()
    for word in ("ATTN", "DECY"):
        if word not in ([corrected] if isinstance(corrected, str) else corrected):
            yield f"{word} in Corrected Image (0028,0051)"
    for item, keyword, name in (
        (ds, "PatientWeight", "Patient's Weight (0010,1030)"),
        (ds, "DecayCorrection", "Decay Correction (0054,1102)"),
        (tracer, "RadionuclideTotalDose", "Radionuclide Total Dose (0018,1074)"),
        (tracer, "RadionuclideHalfLife", "Radionuclide Half Life (0018,1075)"),
    ):
        if item.get(keyword) in (None, ""):
            yield name
    if ds.get("DecayCorrection") == "ADMIN":
        return
    if not tracer.get("RadiopharmaceuticalStartDateTime") and not tracer.get("RadiopharmaceuticalStartTime"):
        yield "Radiopharmaceutical Start DateTime (0018,1078) or Start Time (0018,1072)"
    for level in ("Series", "Acquisition"):
        if _when(ds, level) is None:
            yield f"{level} Date and {level} Time"


def _scan_start(ds: Dataset, half_life_s: float) -> datetime:
    """The time that voxels are corrected to with Decay Correction START."""
    series, acquisition = _when(ds, "Series"), _when(ds, "Acquisition")
    if series is None or acquisition is None:
        raise HeaderError("no uptake: the series or the acquisition has no usable date and time")
    if series <= acquisition:
        return series
    # The series was made later, out of the acquired one (post-processing).
    private = _private_text(ds, _GE_SCAN_TIME)
    if private:
        return _date_time(private)
    reference_ms, duration_ms = numbers(ds.get("FrameReferenceTime")), numbers(ds.get("ActualFrameDuration"))
    if not reference_ms or not duration_ms or duration_ms[0] <= 0:
        raise HeaderError(
            "no uptake: Series Time is after Acquisition Time, and the header lacks "
            "Frame Reference Time (0054,1300) or Actual Frame Duration (0018,1242)"
        )
    decay_constant = math.log(2) / half_life_s
    within = decay_constant * duration_ms[0] / 1000
    average_s = math.log(within / -math.expm1(-within)) / decay_constant
    return acquisition - timedelta(seconds=reference_ms[0] / 1000 - average_s)


def _injection(tracer: Dataset, scan: datetime) -> datetime:
    stated = tracer.get("RadiopharmaceuticalStartDateTime")
    if stated:
        return _date_time(str(stated))
    time = TM(str(tracer.RadiopharmaceuticalStartTime))
    if time is None:
        raise HeaderError("no uptake: Radiopharmaceutical Start Time (0018,1072) is no time")
    injection = datetime.combine(scan.date(), time)
    return injection if injection <= scan else injection - timedelta(days=1)


def _when(ds: Dataset, level: str) -> datetime | None:
    """Date and time of the series or the acquisition, both as the wall clock showed them."""
    if level == "Acquisition" and ds.get("AcquisitionDateTime") and not ds.get("AcquisitionTime"):
        return _date_time(str(ds.AcquisitionDateTime))
    date, time = str(ds.get(f"{level}Date") or ""), str(ds.get(f"{level}Time") or "")
    if not date or not time:
        return None
    day, moment = DA(date), TM(time)
    return None if day is None or moment is None else datetime.combine(day, moment)


def _date_time(text: str) -> datetime:
    """The wall clock of a DT value, without its offset from UTC, which Series Time has not either."""
    found = DT(text)
    if found is None:
        raise HeaderError("no uptake: a date and time is empty")
    return found.replace(tzinfo=None)


def _private_value(ds: Dataset, place: tuple[str, int, int]) -> Any:
    creator, group, element = place
    try:
        return ds.private_block(group, creator)[element].value
    except KeyError:
        return None


def _private(ds: Dataset, place: tuple[str, int, int]) -> float | None:
    value = _private_value(ds, place)
    text = value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else value
    return float(text) if text not in (None, "") else None


def _private_text(ds: Dataset, place: tuple[str, int, int]) -> str:
    value = _private_value(ds, place)
    return (value.decode("latin-1") if isinstance(value, bytes) else str(value or "")).strip(" \0")
