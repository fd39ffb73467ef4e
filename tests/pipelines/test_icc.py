from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageCms

from pipelines.presentation.icc import profile_description

CRAYONS = (Path(pydicom.data.__file__).parent / "test_files" / "crayons.icc").read_bytes()
MADE = {
    name: ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes() for name in ("sRGB", "LAB", "XYZ")
}


@pytest.mark.parametrize("profile", [CRAYONS, *MADE.values()], ids=["crayons", *MADE])
def test_a_profile_is_called_what_littlecms_calls_it(profile: bytes) -> None:
    expected = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile))).strip()
    assert profile_description(profile) == expected
    assert expected


@given(st.binary(max_size=40))
def test_bytes_that_are_no_profile_have_no_name(noise: bytes) -> None:
    assert profile_description(noise) == ""


@given(data=st.data(), profile=st.sampled_from([CRAYONS, *MADE.values()]))
def test_a_damaged_profile_is_no_error(data: st.DataObject, profile: bytes) -> None:
    damaged = bytearray(profile[: data.draw(st.integers(0, len(profile)))])
    for at, value in data.draw(st.dictionaries(st.integers(0, 400), st.integers(0, 255), max_size=8)).items():
        if at < len(damaged):
            damaged[at] = value
    assert len(profile_description(bytes(damaged))) <= 1000
