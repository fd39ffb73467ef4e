"""Objects as files (PS3.10): whole and durable, or not there."""

from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset

from catalog.durable import write
from catalog.identifiers import digest


def write_object(ds: Dataset, path: Path) -> str:
    """Write an object as a DICOM file and return the SHA-256 of its bytes.

    The bytes are flushed to the disk before the file gets its name, so a file that is there is whole.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    content = buffer.getbuffer()
    write(path, content)
    return digest(content)
