"""Objects that were made of images: segmentations and maps."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data

from pipelines import phantoms
from pipelines.phantoms import known_uid
from pipelines.samples.parts import (
    ball,
    head,
)
from pipelines.samples.volumes import ADC_MM2_PER_S


def segmentation(folder: Path) -> None:
    """Two segments of an MR series that do not overlap: the sphere, and the tissue around it."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    phantom = phantoms.write_series(
        folder / "sources", stored=head((12, 96, 96)), modality="MR", description="source of segments",
        intercept=0.0, study="samples", spacing=(2.0, 2.0), distance=4.0,
    )  # fmt: skip
    labels = np.digitize(phantom.stored, (100, 700)).astype(np.uint8)
    segments = [
        hd.seg.SegmentDescription(
            number, label, codes.SCT.Tissue, kind, "MANUAL",
            tracking_uid=known_uid("samples", "segment", label), tracking_id=label,
        )
        for number, label, kind in ((1, "tissue", codes.SCT.Tissue), (2, "sphere", codes.SCT.Neoplasm))
    ]  # fmt: skip
    made = hd.seg.Segmentation(
        [pydicom.dcmread(path) for path in phantom.paths], labels, "BINARY", segments,
        series_instance_uid=known_uid("samples", "segmentation"), series_number=9,
        sop_instance_uid=known_uid("samples", "segmentation", "instance"), instance_number=1,
        manufacturer="Imaging Workbench phantoms", manufacturer_model_name="sphere", software_versions="1",
        device_serial_number="1", series_description="segmentation",
    )  # fmt: skip
    made.save_as(folder / "segmentation.dcm", enforce_file_format=True)
    made._db_con.close()  # highdicom has no public way to close it
    shutil.rmtree(folder / "sources")


def parametric_map(folder: Path) -> None:
    """Apparent diffusion coefficients in float32, made from an MR series (PS3.3 A.75)."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    phantom = phantoms.write_series(
        folder / "sources", stored=head((12, 96, 96)), modality="MR", description="source of a map",
        intercept=0.0, study="samples", spacing=(2.0, 2.0), distance=4.0,
    )  # fmt: skip
    sources = [pydicom.dcmread(path) for path in phantom.paths]
    values = np.where(ball(phantom.stored.shape, 12), ADC_MM2_PER_S, 0.0025).astype(np.float32)
    values[phantom.stored < 100] = 0
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="ADC",
        lut_explanation="apparent diffusion coefficient",
        unit=codes.UCUM.SquareMillimeterPerSecond,
        value_range=(0.0, 0.01),
        intercept=0,
        slope=1,
    )
    made = hd.pm.ParametricMap(
        source_images=sources, pixel_array=values, series_instance_uid=known_uid("samples", "map"),
        series_number=9, sop_instance_uid=known_uid("samples", "map", "instance"), instance_number=1,
        manufacturer="Imaging Workbench phantoms", manufacturer_model_name="sphere", software_versions="1",
        device_serial_number="1", contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.00125, window_width=0.0025)],
        content_label="ADC", series_description="parametric map",
    )  # fmt: skip
    made.save_as(folder / "map.dcm", enforce_file_format=True)
    made._db_con.close()  # highdicom has no public way to close it
    shutil.rmtree(folder / "sources")
