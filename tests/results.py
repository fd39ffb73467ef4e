"""One result of every kind that is sent, made by our encoders of one CT phantom."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from pydicom.dataset import Dataset

from catalog.headers import read_dataset
from catalog.identifiers import new_uid
from pipelines import phantoms
from pipelines.encode.algorithm import Algorithm
from pipelines.encode.encapsulated_pdf import encapsulated_pdf
from pipelines.encode.key_objects import key_objects
from pipelines.encode.moving_picture import moving_picture
from pipelines.encode.parametric_map import parametric_map
from pipelines.encode.part10 import write_object
from pipelines.encode.presentation_state import Mark, presentation_state
from pipelines.encode.report import report
from pipelines.encode.secondary_capture import secondary_capture
from pipelines.encode.segmentation import segmentation
from pipelines.presentation.appearance import Appearance
from pipelines.samples.moving import write_mp4

ALGORITHM = Algorithm("threshold", "1.2.3", "7f3a" * 8, {"above": 0.0, "below": None})
KINDS = ("SEG", "SR", "KOS", "GSPS", "SC", "PDF", "PM", "video")
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"


@dataclass(frozen=True)
class Results:
    """A phantom and what was made of it."""

    source: phantoms.Phantom
    paths: Mapping[str, Path]
    """By kind."""
    objects: Mapping[str, Dataset]


def make_results(folder: Path, *, study: str | None = None) -> Results:
    """Write one of each kind into a folder, in a study of their own."""
    ct = phantoms.write_series(folder / "ct", planes=4, study=study or new_uid(), patient_name="Müller^Änne")
    headers = [read_dataset(path) for path in ct.paths]
    volume = xr.DataArray(
        ct.modality_values, dims=("z", "y", "x"), name="density",
        coords={"sop_instance_uid": ("z", list(ct.sop_instance_uids))},
    )  # fmt: skip
    seg = segmentation((volume > 0).rename("mask"), headers, algorithm=ALGORITHM)
    rows = [{"name": "volume", "value": 904.0, "unit": "mm3", "segment": 1}]
    stream = folder / "stream.mp4"
    write_mp4(stream)
    mark = Mark(ct.sop_instance_uids[0], ((3.5, 3.5), (9.5, 9.5)), text="größer geworden")
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[5:9, 5:9] = 255, 128, 0
    objects = {
        "SEG": seg,
        "SR": report(seg, headers, rows, algorithm=ALGORITHM),
        "KOS": key_objects([*headers[:2], seg], description="für die Konferenz"),
        "GSPS": presentation_state(headers, [mark], appearance=Appearance((40.0, 400.0))),
        "SC": secondary_capture(picture, headers[0], description="as it was seen"),
        "PDF": encapsulated_pdf(PDF, headers[0], title="Befund"),
        "PM": parametric_map(volume, headers, algorithm=ALGORITHM),
        "video": moving_picture(stream, headers[0], description="endoscopy", modality="ES"),
    }
    paths = {kind: folder / f"{kind}.dcm" for kind in objects}
    for kind, ds in objects.items():
        write_object(ds, paths[kind])
    return Results(ct, paths, objects)
