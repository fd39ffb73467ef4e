from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, TwelveLeadECGWaveformStorage

from catalog.errors import DecodeError, HeaderError
from pipelines.objects.waveforms import SAMPLES, read_waveforms


def item(**attributes: Any) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    for keyword, value in attributes.items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


def channel(name: str, **attributes: Any) -> pydicom.Dataset:
    return item(
        **{
            "ChannelSourceSequence": [
                item(CodeValue="5.6.3", CodingSchemeDesignator="SCPECG", CodeMeaning=name)
            ],
            "ChannelSensitivity": "2.5",
            "ChannelSensitivityUnitsSequence": [item(CodeValue="uV", CodingSchemeDesignator="UCUM")],
            "ChannelSensitivityCorrectionFactor": "1",
            "ChannelBaseline": "0",
            **attributes,
        }
    )


def group(samples: np.ndarray, interpretation: str = "SS", **attributes: Any) -> pydicom.Dataset:
    """Samples of shape (samples, channels) in the byte order of the file."""
    values = {
        "WaveformOriginality": "ORIGINAL",
        "NumberOfWaveformChannels": samples.shape[1],
        "NumberOfWaveformSamples": samples.shape[0],
        "SamplingFrequency": "500",
        "MultiplexGroupLabel": "RHYTHM",
        "ChannelDefinitionSequence": [channel(f"Lead {number}") for number in range(samples.shape[1])],
        "WaveformBitsAllocated": samples.itemsize * 8,
        "WaveformSampleInterpretation": interpretation,
    }
    found = item(**values | attributes)
    if "WaveformData" not in attributes:
        found.add_new("WaveformData", "OB" if samples.itemsize == 1 else "OW", samples.tobytes())
    return found


def write_waveforms(path: Path, *groups: pydicom.Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    ds = item(
        SOPClassUID=TwelveLeadECGWaveformStorage,
        SOPInstanceUID="2.25.1",
        StudyInstanceUID="2.25.2",
        SeriesInstanceUID="2.25.3",
        Modality="ECG",
        WaveformSequence=list(groups),
    )
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)
    return path


COUNTS = np.array([[0, 5], [-7, 6], [300, -300]], "<i2")


def test_the_real_ecg_has_the_values_that_pydicom_computes(shared_data):
    path = shared_data / "objects/waveform/waveform_ecg.dcm"
    ds = pydicom.dcmread(path)
    found = read_waveforms(path)
    assert [each.shape for each in found] == [(12, 10000), (12, 1200)]
    for index, each in enumerate(found):
        assert np.array_equal(each.values, ds.waveform_array(index).T)
        assert each.attrs["units"] == "uV"
        assert each.coords["time"].values[[0, 1]].tolist() == [0, 0.001]
    assert found[0].coords["channel"].values[[0, 1, 11]].tolist() == [
        "Lead I (Einthoven)",
        "Lead II",
        "Lead V6",
    ]
    assert [each.attrs["label"] for each in found] == ["RHYTHM", "MEDIAN BEAT"]


def test_sensitivity_correction_and_baseline_give_physical_units(tmp_path):
    definitions = [
        channel("a", ChannelSensitivityCorrectionFactor="1.1", ChannelBaseline="4"),
        channel("b", ChannelLabel="Pressure", ChannelSensitivityUnitsSequence=[item(CodeValue="mm[Hg]")]),
    ]
    path = write_waveforms(tmp_path / "ecg.dcm", group(COUNTS, ChannelDefinitionSequence=definitions))
    (found,) = read_waveforms(path)
    assert np.allclose(found.values, [COUNTS[:, 0] * 2.5 * 1.1 + 4, COUNTS[:, 1] * 2.5])
    assert found.coords["channel"].values.tolist() == ["a", "Pressure"]
    assert found.coords["units"].values.tolist() == ["uV", "mm[Hg]"]
    assert "units" not in found.attrs
    assert found.coords["time"].values.tolist() == [0, 0.002, 0.004]
    assert found.attrs["sampling_frequency_hz"] == 500


def test_a_channel_without_sensitivity_has_its_samples(tmp_path):
    bare = [item(), item(ChannelBaseline=None)]
    path = write_waveforms(tmp_path / "ecg.dcm", group(COUNTS, ChannelDefinitionSequence=bare))
    (found,) = read_waveforms(path)
    assert np.array_equal(found.values, COUNTS.T)
    assert found.attrs["units"] == "1"
    assert found.coords["channel"].values.tolist() == ["channel 1", "channel 2"]


@pytest.mark.parametrize("interpretation", [name for name, _ in SAMPLES])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_samples_of_every_kind_keep_their_extremes(tmp_path, interpretation, syntax):
    (kind,) = (dtype for (name, _), dtype in SAMPLES.items() if name == interpretation)
    limits = np.iinfo(kind)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    samples = np.array([[limits.min, 1], [limits.max, 100]], np.dtype(kind).newbyteorder(order))
    definitions = [channel("a", ChannelSensitivity="1"), channel("b", ChannelSensitivity="1")]
    # Samples of 8 bits are one OB value, those of 16 bits are words that a writer swaps by itself.
    made = group(samples, interpretation, ChannelDefinitionSequence=definitions)
    (found,) = read_waveforms(write_waveforms(tmp_path / "ecg.dcm", made, syntax=syntax))
    assert found.values.tolist() == [[float(limits.min), float(limits.max)], [1, 100]]


def test_padding_is_no_number(tmp_path):
    made = group(COUNTS)
    made.add_new("WaveformPaddingValue", "OW", np.array([-300], "<i2").tobytes())
    (found,) = read_waveforms(write_waveforms(tmp_path / "ecg.dcm", made))
    assert np.argwhere(np.isnan(found.values)).tolist() == [[1, 2]]


def test_offset_and_skew_are_kept(tmp_path):
    definitions = [channel("a"), channel("b", ChannelTimeSkew="0.001"), channel("c", ChannelSampleSkew="0.5")]
    samples = np.zeros((4, 3), "<i2")
    made = group(samples, ChannelDefinitionSequence=definitions, MultiplexGroupTimeOffset="20")
    (found,) = read_waveforms(write_waveforms(tmp_path / "ecg.dcm", made))
    assert found.coords["time"].values == pytest.approx([0.02, 0.022, 0.024, 0.026])
    assert found.coords["skew_s"].values == pytest.approx([0, 0.001, 0.001])


@pytest.mark.parametrize(
    ("made", "error", "words"),
    [
        (group(COUNTS.astype("u1"), "MB"), HeaderError, "mu-law"),
        (group(COUNTS.astype("u1"), "AB"), HeaderError, "A-law"),
        (group(COUNTS, "SB"), HeaderError, "'SB' in 16 bits, which is not defined"),
        (group(COUNTS, SamplingFrequency=None), HeaderError, "no usable Sampling Frequency"),
        (
            group(COUNTS, ChannelDefinitionSequence=[channel("a")]),
            HeaderError,
            "2 channels, 1 of them defined",
        ),
        (group(COUNTS, NumberOfWaveformSamples=2_000_000_000), DecodeError, "is cut: 12 bytes"),
        (group(COUNTS, NumberOfWaveformSamples=0), HeaderError, "0 samples"),
    ],
)
def test_what_cannot_be_read_is_told_in_words(tmp_path, made, error, words):
    with pytest.raises(error, match=words):
        read_waveforms(write_waveforms(tmp_path / "ecg.dcm", made))


def test_an_object_without_groups_or_of_another_class_is_refused(tmp_path, ct):
    with pytest.raises(HeaderError, match="no Waveform Sequence"):
        read_waveforms(write_waveforms(tmp_path / "ecg.dcm"))
    with pytest.raises(HeaderError, match="CT Image Storage, not a waveform object"):
        read_waveforms(ct.paths[0])


def test_a_file_cut_anywhere_gives_words(tmp_path):
    path = write_waveforms(tmp_path / "ecg.dcm", group(COUNTS))
    whole = path.read_bytes()
    for end in range(len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises((HeaderError, DecodeError)):
            read_waveforms(path)
