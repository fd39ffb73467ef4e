"""What a verification finds: places where the archive or Zarr is not what was ingested."""

from dataclasses import dataclass


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
