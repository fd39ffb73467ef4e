"""Spatial Registrations: where frames of reference lie in each other (PS3.3 A.39.1, C.20.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from catalog.errors import HeaderError, NotFoundError, QuestionError
from pipelines.objects.file import items_of, named, numbers, open_object
from pipelines.presentation.fusion import Matrix, as_matrix, checked
from pipelines.presentation.scene import Scene

SPATIAL_REGISTRATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.1"


@dataclass(frozen=True, slots=True)
class Registration:
    """Frames of reference, and images without one, that one object relates to each other by matrices."""

    sop_instance_uid: str
    series_instance_uid: str
    label: str
    """Content Label (0070,0080), or Content Description (0070,0081) where there is one."""
    created: str
    """Content Date and Time (0008,0023), (0008,0033): `YYYYMMDDHHMMSS…`."""
    frame_of_reference_uid: str
    """The frame that all others are registered to."""
    matrices: Mapping[str, Matrix] = field(repr=False)
    """By Frame of Reference UID: 4 × 4, from its LPS mm to those of the frame all are registered to."""
    image_matrices: Mapping[str, Matrix] = field(default_factory=dict, repr=False)
    """By SOP Instance UID, of the images that the object names."""

    def between(self, source: Scene, target: Scene) -> Matrix:
        """Return the matrix, 4 × 4, from the LPS mm of one array to those of another.

        Raises
        ------
        NotFoundError
            If the object does not tell where both lie.
        """
        matrices = [self._matrix(each) for each in (source, target)]
        if matrices[0] is None or matrices[1] is None:
            raise NotFoundError(
                f"registration {self.sop_instance_uid} relates {len(self.matrices)} frames of reference, "
                "and not those of both arrays: give one that was made for them, or a 4 × 4 matrix"
            )
        return as_matrix(np.linalg.inv(np.array(matrices[1])) @ np.array(matrices[0]))

    def _matrix(self, scene: Scene) -> Matrix | None:
        found = self.matrices.get(scene.frame_of_reference_uid)
        if found is not None:
            return found
        of_images = {self.image_matrices.get(each) for each in scene.sop_instance_uids}
        return of_images.pop() if len(of_images) == 1 else None


type Transform = npt.ArrayLike | Registration
"""4 × 4 numbers, or the object that tells them."""


def matrix_of(transform: Transform, source: Scene, target: Scene) -> npt.NDArray[np.float64]:
    """Return the matrix that a transform is between two arrays, 4 × 4, LPS mm to LPS mm.

    Raises
    ------
    NotFoundError
        If a registration does not tell where both lie.
    QuestionError
        If it is neither a registration nor an affine matrix that can be undone.
    """
    return checked(transform.between(source, target) if isinstance(transform, Registration) else transform)


def read_registration(path: str | Path) -> Registration:
    """Read a Spatial Registration; several matrices of one registration apply one after another.

    Raises
    ------
    HeaderError
        If the file is no Spatial Registration (one with a deformation field is none), or its matrices are
        none that can be undone.
    """
    with named(path):
        ds = open_object(
            path, (SPATIAL_REGISTRATION_STORAGE,), "a Spatial Registration, which has matrices"
        ).ds
        frame = str(ds.get("FrameOfReferenceUID") or "")
        matrices: dict[str, Matrix] = {frame: as_matrix(np.eye(4))} if frame else {}
        of_images: dict[str, Matrix] = {}
        for item in items_of(ds, "RegistrationSequence"):
            matrix = _product(item)
            registered = str(item.get("FrameOfReferenceUID") or "")
            if registered:
                matrices[registered] = matrix
            for image in items_of(item, "ReferencedImageSequence"):
                of_images[str(image.get("ReferencedSOPInstanceUID") or "")] = matrix
        return Registration(
            str(ds.SOPInstanceUID),
            str(ds.get("SeriesInstanceUID") or ""),
            str(ds.get("ContentDescription") or ds.get("ContentLabel") or ""),
            f"{ds.get('ContentDate') or ''}{ds.get('ContentTime') or ''}",
            frame,
            matrices,
            of_images,
        )


def _product(item: Dataset) -> Matrix:
    """M of one registration: that of the first item applies first (PS3.3 C.20.2.1.1)."""
    product = np.eye(4)
    steps = [
        step
        for registration in items_of(item, "MatrixRegistrationSequence")
        for step in items_of(registration, "MatrixSequence")
    ]
    for step in steps:
        values = numbers(step.get("FrameOfReferenceTransformationMatrix"))
        if len(values) != 16:
            raise HeaderError("has a Frame of Reference Transformation Matrix (3006,00C6) that is not 4 × 4")
        product = np.array(values).reshape(4, 4) @ product
    if not steps:
        raise HeaderError("has a registration without a matrix (3006,00C6)")
    try:
        return as_matrix(checked(product))
    except QuestionError as error:
        raise HeaderError(f"has a registration that is none: {error}") from None
