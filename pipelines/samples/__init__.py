"""One small series of every kind a hospital images, as real DICOM: for the notebook, the docs and the tests.

Real files are those that the pydicom package brings along (MIT); what it lacks is made here, each with a
picture a person recognises and numbers that can be checked. Nothing is downloaded.
"""

from pipelines.samples.moving import VIDEO_FRAMES, VIDEO_RATE, write_mp4
from pipelines.samples.table import SAMPLES, Sample, series_of, write_samples
from pipelines.samples.volumes import (
    ADC_MM2_PER_S,
    B_VALUES,
    SECONDS_PER_TIME,
    SUV_IN_SPHERE,
    TILT_DEGREES,
    UPTAKE_PER_TIME,
)

__all__ = [
    "ADC_MM2_PER_S",
    "B_VALUES",
    "SAMPLES",
    "SECONDS_PER_TIME",
    "SUV_IN_SPHERE",
    "TILT_DEGREES",
    "UPTAKE_PER_TIME",
    "VIDEO_FRAMES",
    "VIDEO_RATE",
    "Sample",
    "series_of",
    "write_mp4",
    "write_samples",
]
