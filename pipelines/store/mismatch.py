"""What a verification finds: places where the archive or Zarr is not what was ingested."""

from dataclasses import dataclass

from catalog.errors import ArrayError, words_of

PIXELS_DIFFER = "pixel data differ from those that were ingested"
INPUTS_DIFFER = "the headers in the catalog are not those that were ingested; ingest the series again"
BYTES_DIFFER = "bytes differ from those that were ingested"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One place where the archive or Zarr no longer is what was ingested."""

    series_instance_uid: str
    part: int
    frame_index: int | None
    """Plane of the array, from 0; the first one of a chunk that cannot be read."""
    sop_instance_uid: str | None
    path: str
    """The DICOM file, or the file of the Zarr group."""
    what: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What one verification found."""

    frames: int
    """Planes that were compared."""
    mismatches: tuple[Mismatch, ...]


def anew(series_instance_uid: str) -> str:
    """What to do about values that are damaged, in words."""
    return f"`workbench ingest {series_instance_uid} --anew` writes the array anew"


def unreadable(planes: str, error: Exception, series_instance_uid: str) -> str:
    """Say that the values of planes cannot be read, why, and what to do."""
    if isinstance(error, OSError):
        return f"{planes} cannot be read: {words_of(error)}"
    why = "a chunk is damaged" if isinstance(error, ArrayError) else type(error).__name__
    return f"{planes}: values cannot be read: {why}; {anew(series_instance_uid)}"
