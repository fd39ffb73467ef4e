"""Layers and images that a presentation state names, and whether they are there (PS3.3 C.10.5); no I/O."""

from collections.abc import Iterator

from pydicom.dataset import Dataset


def layer_faults(ds: Dataset) -> Iterator[str]:
    """Name each layer that is used and not defined, and each image that is drawn on and not referred to."""
    layers = [str(each.get("GraphicLayer") or "") for each in ds.get("GraphicLayerSequence") or ()]
    for name in dict.fromkeys(layers):
        if layers.count(name) > 1:
            yield f"Graphic Layer (0070,0002) {name} is defined {layers.count(name)} times (PS3.3 C.10.7)"
    for place, name in _used(ds):
        if name not in layers:
            yield f"{place} is on layer {name or 'of no name'}, which GraphicLayerSequence does not define"
    listed = {
        str(image.get("ReferencedSOPInstanceUID"))
        for series in ds.get("ReferencedSeriesSequence") or ()
        for image in series.get("ReferencedImageSequence") or ()
    }
    if not listed:
        yield "it refers to no image (PS3.3 C.11.11)"
    for keyword in ("GraphicAnnotationSequence", "SoftcopyVOILUTSequence", "DisplayedAreaSelectionSequence"):
        for number, item in enumerate(ds.get(keyword) or (), start=1):
            for image in item.get("ReferencedImageSequence") or ():
                uid = str(image.get("ReferencedSOPInstanceUID"))
                if uid not in listed:
                    yield f"item {number} of {keyword} is about {uid}, which the state does not refer to"


def _used(ds: Dataset) -> Iterator[tuple[str, str]]:
    for number, item in enumerate(ds.get("GraphicAnnotationSequence") or (), start=1):
        yield f"annotation {number}", str(item.get("GraphicLayer") or "")
    for group in range(0x6000, 0x6020, 2):  # Overlay Activation Layer (60xx,1001) (PS3.3 C.11.7)
        element = ds.get((group, 0x1001))
        if element is not None and element.value:
            yield f"overlay group {group:04X}", str(element.value)
