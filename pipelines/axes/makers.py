"""Which maker tiled several planes in one image, by its Image Type (0008,0008); no I/O."""

from catalog.records import InstanceRecord

SIEMENS, UNITED_IMAGING = "MOSAIC", "VFRAME"
"""Values of Image Type of such images."""


def maker(image: InstanceRecord) -> str:
    """Return `MOSAIC` or `VFRAME` where an image consists of tiles by its Image Type, else nothing."""
    if image.frame_index is not None:
        return ""
    values = (image.image_type or "").split("\\")
    return next((each for each in (SIEMENS, UNITED_IMAGING) if each in values), "")
