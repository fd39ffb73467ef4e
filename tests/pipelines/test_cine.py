"""Times of frames: what real cines say, the rules of the standard, and headers that make no sense."""

from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from catalog.headers import read_dataset
from pipelines.axes.cine import FrameTimes, frame_times_s


def header(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("name", "frames", "step_s"),
    [
        ("xa_jpeg_96fr", 96, 0.033),
        ("us_jpeg_34fr", 34, 0.030),
        ("us_ybr_jpeg_30fr", 30, 0.033333),
        ("us_palette_rle_10fr", 10, 0.076),
    ],
)
def test_real_cines_have_evenly_timed_frames(
    shared_data: Path, name: str, frames: int, step_s: float
) -> None:
    found = frame_times_s(read_dataset(shared_data / "cine" / f"{name}.dcm"), frames)
    assert found.values == pytest.approx([index * step_s for index in range(frames)])
    assert found.source == "FrameTime (0018,1063)"
    assert found.reason == ""


def test_a_frame_time_vector_is_summed_from_its_zero() -> None:
    ds = header(FrameIncrementPointer=0x00181065, FrameTimeVector=[0, 40, 50, 60], FrameDelay=250)
    found = frame_times_s(ds, 4)
    assert found.values == pytest.approx([0, 0.04, 0.09, 0.15])
    assert found.source == "FrameTimeVector (0018,1065)"
    assert found.delay_s == 0.25


def test_the_pointer_decides_between_two_attributes() -> None:
    both = {"FrameTime": 40, "FrameTimeVector": [0, 10, 20]}
    assert frame_times_s(header(FrameIncrementPointer=0x00181063, **both), 3).values == (0, 0.04, 0.08)
    assert frame_times_s(header(FrameIncrementPointer=0x00181065, **both), 3).values == (0, 0.01, 0.03)


@pytest.mark.parametrize("keyword", ["CineRate", "RecommendedDisplayFrameRate"])
def test_a_rate_serves_where_nothing_better_is_there(keyword: str) -> None:
    found = frame_times_s(header(**{keyword: 25}), 3)
    assert found.values == pytest.approx([0, 0.04, 0.08])
    assert found.source.startswith(keyword)


def test_what_the_pointer_names_may_be_absent_and_is_then_mentioned() -> None:
    found = frame_times_s(header(FrameIncrementPointer=0x00181065, CineRate=10), 2)
    assert found.values == (0, 0.1)
    assert found.reason == "Frame Increment Pointer names FrameTimeVector (0018,1065), which is absent"


def test_a_cine_rate_that_contradicts_the_frame_time_is_mentioned() -> None:
    assert frame_times_s(header(FrameTime=40, CineRate=25), 2).reason == ""
    assert frame_times_s(header(FrameTime=33, CineRate=30), 2).reason == ""
    assert (
        "40 ms, but CineRate (0018,0040) 15 frames"
        in frame_times_s(header(FrameTime=40, CineRate=15), 2).reason
    )


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, "does not say when its frames were taken"),
        ({"FrameTime": None}, "does not say when its frames were taken"),
        ({"FrameTime": 0, "CineRate": 25}, "FrameTime (0018,1063) is 0 ms"),
        ({"FrameTime": -33}, "FrameTime (0018,1063) is -33 ms"),
        ({"CineRate": 0}, "CineRate (0018,0040) is 0 frames a second"),
        ({"FrameTimeVector": ["0", "1e308", "1e308", "1e308"]}, "gives no finite time for each of 4 frames"),
        ({"FrameTimeVector": [0, 40, 40]}, "FrameTimeVector (0018,1065) has 3 entries for 4 frames"),
        ({"FrameTimeVector": [0, 40, 40, 40, 40]}, "has 5 entries for 4 frames"),
        ({"FrameTimeVector": [0, 40, -40, 40]}, "has the increment -40 ms before frame 3"),
        ({"FrameTimeVector": [0, 0, 0, 0]}, "has the increment 0 ms before frame 2"),
        (
            {"FrameIncrementPointer": 0x00182001, "FrameTime": 40},
            "the frames differ by PageNumberVector (0018,2001), not by time",
        ),
        (
            {"FrameIncrementPointer": [0x00540010, 0x00540020]},
            "the frames differ by EnergyWindowVector (0054,0010), DetectorVector (0054,0020), not by time",
        ),
        ({"FrameIncrementPointer": 0x00091001}, "the frames differ by (0009,1001), not by time"),
    ],
)
def test_nonsense_is_a_reason_and_no_guess(attributes: dict[str, object], reason: str) -> None:
    found = frame_times_s(header(**attributes), 4)
    assert (found.values, found.source) == (None, "")
    assert reason in found.reason


def test_a_value_that_is_no_number_is_a_reason() -> None:
    ds = Dataset()
    ds[0x00181063] = RawDataElement(Tag(0x00181063), "DS", 4, b"fast", 0, False, True)
    found = frame_times_s(ds, 2)
    assert found == FrameTimes(None, "", "the times of the frames cannot be read: ValueError")


# --- nuclear medicine ------------------------------------------------------------------------------------


def test_dynamic_frames_follow_their_phases() -> None:
    first = header(ActualFrameDuration=1000, NumberOfFramesInPhase=2, PauseBetweenFrames=100, PhaseDelay=0)
    second = header(ActualFrameDuration=5000, NumberOfFramesInPhase=2, PauseBetweenFrames=0, PhaseDelay=400)
    ds = header(
        FrameIncrementPointer=[0x00540010, 0x00540030, 0x00540100],
        EnergyWindowVector=[1] * 4, PhaseVector=[1, 1, 2, 2], TimeSliceVector=[1, 2, 1, 2],
        PhaseInformationSequence=Sequence([first, second]),
    )  # fmt: skip
    found = frame_times_s(ds, 4)
    assert found.values == pytest.approx([0, 1.1, 2.5, 7.5])
    assert found.source == "TimeSliceVector (0054,0100)"
    ds.PhaseVector = [1, 1, 2, 3]
    assert frame_times_s(ds, 4).reason == "PhaseInformationSequence (0054,0032) has no phase 3"


def test_frames_of_two_detectors_share_their_times() -> None:
    interval = header(FrameTime=50)
    gate = header(DataInformationSequence=Sequence([interval]))
    ds = header(
        FrameIncrementPointer=[0x00540020, 0x00540060, 0x00540070],
        DetectorVector=[1, 1, 2, 2], RRIntervalVector=[1] * 4, TimeSlotVector=[1, 2, 1, 2],
        GatedInformationSequence=Sequence([gate]),
    )  # fmt: skip
    assert frame_times_s(ds, 4).values == pytest.approx([0, 0.05, 0, 0.05])
    gate.DataInformationSequence.append(interval)
    assert frame_times_s(ds, 4).reason == "2 R-R intervals, each with time slots of its own"
