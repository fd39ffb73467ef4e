"""Volumes of numbers as Parametric Map objects in floating point (PS3.3 A.75)."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from catalog.errors import EncodeError
from catalog.identifiers import new_uid
from pipelines.encode import algorithm as made_by
from pipelines.encode.algorithm import Algorithm, shortened
from pipelines.encode.sources import in_order, inheritable, name_set_aside, without_quotes

SERIES_NUMBER = 9007
"""Of the maps of a run."""

_LABEL_LENGTH = 16  # of LUT Label (0040,9210), a short string


@without_quotes()
def parametric_map(
    values: xr.DataArray,
    sources: Sequence[Dataset],
    *,
    algorithm: Algorithm,
    unit: Code = codes.UCUM.NoUnits,
    quantity: Code | None = None,
) -> Dataset:
    """Encode a map as float32 on the planes of its sources, every one of which it names (PS3.3 C.7.6.16.2.6).

    Parameters
    ----------
    values
        Shape (z, y, x), numbers, with the coordinate `sop_instance_uid` on its first axis.
    sources
        Headers of the single-frame source instances, in any order.
    unit
        UCUM code of the values (Measurement Units Code Sequence (0040,08EA)).
    quantity
        What they measure (Quantity Definition Sequence (0040,9220)).

    Raises
    ------
    EncodeError
        If the map has another shape than its sources, holds no finite number, or these cannot carry a map.
    """
    if "sop_instance_uid" not in values.coords:
        raise EncodeError(
            "the map has no coordinate sop_instance_uid; keep the coordinates of the volume it was made from"
        )
    names = [str(uid) for uid in np.atleast_1d(values["sop_instance_uid"].values)]
    planes = inheritable(in_order(sources, names))
    patient_name = name_set_aside(planes[0])
    numbers = np.asarray(values.data, dtype=np.float32)
    finite = numbers[np.isfinite(numbers)]
    expected = (len(planes), int(planes[0].Rows), int(planes[0].Columns))
    if numbers.shape != expected or not finite.size:
        raise EncodeError(
            f"a map of these sources is {expected} with some finite number, this one is {numbers.shape}"
        )
    least, most = float(finite.min()), float(finite.max())
    name = str(values.name or "map")
    try:
        found = ParametricMap(
            source_images=planes,
            pixel_array=numbers,
            series_instance_uid=new_uid(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=new_uid(),
            instance_number=1,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                RealWorldValueMapping(
                    lut_label=shortened(name, _LABEL_LENGTH),
                    lut_explanation=shortened(name),
                    unit=unit,
                    value_range=(least, most),
                    slope=1.0,
                    intercept=0.0,
                    quantity_definition=quantity,
                )
            ],
            voi_lut_transformations=[
                VOILUTTransformation(
                    window_center=(least + most) / 2,
                    window_width=max(most - least, 1e-6),
                    voi_lut_function="LINEAR_EXACT",
                )
            ],
            content_label="MAP",
            content_description=shortened(f"run {algorithm.run}"),
            series_description=algorithm.description,
            specific_character_set="ISO_IR 192",
            **made_by.equipment(),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise EncodeError(f"series {planes[0].SeriesInstanceUID} cannot carry a map: {error}") from error
    ds = Dataset(found)  # highdicom's object would keep a database connection open until collected
    ds.file_meta, ds.preamble = found.file_meta, found.preamble
    found._db_con.close()  # highdicom has no public way to close it
    ds.PatientName = patient_name
    return ds
