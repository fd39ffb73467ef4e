"""What goes wrong while an object is read is told apart: bytes of the file, the disk, our own memory."""

import errno

import pytest

from catalog.errors import HeaderError
from pipelines.objects.file import named


def test_an_error_of_the_disk_says_so_and_is_the_cause() -> None:
    with (
        pytest.raises(HeaderError, match=r"x\.dcm: cannot be read: input/output error") as caught,
        named("x.dcm"),
    ):
        raise OSError(errno.EIO, "Input/output error")
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    "stumble", [OSError("No tag to read at file position 4"), ValueError("x"), IndexError()]
)
def test_what_pydicom_stumbles_over_is_a_value_of_the_file(stumble: Exception) -> None:
    with pytest.raises(HeaderError, match="has a value that cannot be read") as caught, named("x.dcm"):
        raise stumble
    assert caught.value.__cause__ is None


def test_that_memory_has_run_out_is_no_fault_of_the_file() -> None:
    with pytest.raises(MemoryError), named("x.dcm"):
        raise MemoryError
