"""Pictures of what a person saw as Secondary Capture images (PS3.3 A.8.1)."""

from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from catalog.errors import EncodeError
from catalog.identifiers import new_uid
from pipelines.encode import algorithm as made_by
from pipelines.encode.algorithm import shortened
from pipelines.encode.sources import identity, inheritable, name_set_aside, without_quotes

SERIES_NUMBER = 9005
"""Of captures."""

_GRAY, _COLOUR = 2, 3


@without_quotes()
def secondary_capture(pixels: npt.NDArray[Any], source: Dataset, *, description: str) -> Dataset:
    """Encode a picture in the study of its source, which it names (PS3.3 C.8.6, C.7.6.1).

    Parameters
    ----------
    pixels
        Shape (rows, columns) gray, or (rows, columns, 3) red, green and blue; uint8, gray also uint16.
    source
        Header of the instance that is shown.
    description
        Series Description (0008,103E).

    Raises
    ------
    EncodeError
        If the picture has another shape or type, or the source cannot be inherited from.
    """
    kinds = {_GRAY: ("uint8", "uint16"), _COLOUR: ("uint8",)}
    colour = pixels.ndim == _COLOUR
    if str(pixels.dtype) not in kinds.get(pixels.ndim, ()) or (colour and pixels.shape[2] != _COLOUR):
        raise EncodeError(
            f"a capture is gray (rows, columns) in 8 or 16 bits or RGB (rows, columns, 3) in 8, "
            f"this one is {pixels.dtype} of shape {pixels.shape}"
        )
    (header,) = inheritable([source])
    patient_name = name_set_aside(header)
    capture = SCImage(
        pixel_array=np.ascontiguousarray(pixels),
        photometric_interpretation="RGB" if colour else "MONOCHROME2",
        bits_allocated=8 * pixels.dtype.itemsize,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        series_instance_uid=new_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        instance_number=1,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
        series_description=shortened(description),
        **identity(header),
        **made_by.equipment(),
    )
    capture.PatientName = patient_name
    capture["PatientOrientation"].value = None  # type 2: a picture of a screen has none that is known
    capture.BurnedInAnnotation = "YES"  # nobody has looked: a screen shows names
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.SourceImageSequence = [reference(header)]
    return capture


def reference(header: Dataset) -> Dataset:
    """Image SOP Instance Reference Macro (PS3.3 table 10-3)."""
    found = Dataset()
    found.ReferencedSOPClassUID = header.SOPClassUID
    found.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return found
