"""Arrays a step made, in Zarr: written whole beside their final name, then renamed."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from catalog.durable import file_digest, make_folder, publish
from catalog.errors import ArrayError
from catalog.identifiers import digest_of_texts


def write_derived(array: xr.DataArray, folder: Path) -> str:
    """Write an array chunk by chunk with its coordinates and attributes, and return its digest.

    It has its final name only when all of it is on the disk.

    Coordinates of text (`sop_instance_uid`) become attributes, as Zarr has no settled data type for text.

    Raises
    ------
    catalog.errors.ArrayError
        If an attribute cannot be written as JSON.
    OSError
        If the folder cannot be written.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial.parent)
    ds = _without_text(array).to_dataset(name=str(array.name or "array"))
    ds.to_zarr(partial, mode="w", zarr_format=3, consolidated=False)
    publish(partial, folder)
    return folder_digest(folder)


def open_derived(folder: Path) -> xr.DataArray:
    """Open an array that a step made, lazily, as it was returned: text coordinates are back.

    Raises
    ------
    catalog.errors.ArrayError
        If there is no such array.
    """
    try:
        ds = xr.open_zarr(folder, consolidated=False)
    except (OSError, ValueError) as error:
        raise ArrayError(f"no array can be opened at {folder}: {error}") from error
    (name,) = ds.data_vars
    array: xr.DataArray = ds[name]
    texts = {name: tuple(value) for name, value in array.attrs.pop(_TEXTS, {}).items()}
    with_texts: xr.DataArray = array.assign_coords(texts)
    return with_texts


_TEXTS = "text_coordinates"


def _without_text(array: xr.DataArray) -> xr.DataArray:
    texts = {
        str(name): (list(coordinate.dims), coordinate.values.tolist())
        for name, coordinate in array.coords.items()
        if coordinate.dtype.kind in "OUST"
    }
    attrs = {str(name): _plain(str(name), value) for name, value in array.attrs.items()}
    if texts:
        attrs[_TEXTS] = texts
    return array.drop_vars(texts).drop_encoding().drop_attrs().assign_attrs(attrs)


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise ArrayError(
            f"attribute {name} of the result is a {type(value).__name__}, which Zarr cannot keep; "
            "drop it in the step or make it a text or number"
        ) from error


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_of_texts(
        text for path in files for text in (path.relative_to(folder).as_posix(), file_digest(path))
    )
