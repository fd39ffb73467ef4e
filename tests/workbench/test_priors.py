"""Which earlier studies are wanted: never those of another patient, nor later ones; the likest first."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from catalog.records import RemoteSeries, SeriesRecord
from workbench.priors import priors_of

PRESENT = [
    SeriesRecord(
        "1.9.1", "1.9", "P1", "Muster^Anna", study_date="20260601", study_time="1200", modality="CT",
        body_part_examined="CHEST",
    )
]  # fmt: skip


def told(study: int, date: str | None = "20250101", **values: Any) -> RemoteSeries:
    known = {
        "series_instance_uid": f"1.{study}.1", "study_instance_uid": f"1.{study}", "patient_id": "P1",
        "patient_name": "MUSTER^ANNA^", "study_date": date, "modality": "CT", "body_part_examined": "CHEST",
    }  # fmt: skip
    return RemoteSeries(known | values, "pacs://PACS", "pacs://PACS", 10)


def uids(found: Any) -> list[str]:
    return [each.study_instance_uid for each in found]


def test_the_same_modality_and_body_part_come_first_then_the_newest() -> None:
    there = [
        told(1, "20260501", modality="MR"),
        told(2, "20200101"),
        told(3, "20210101", body_part_examined="HEAD"),
        told(4, "20220101", body_part_examined="chest"),
        told(5, "20260401", modality="MR"),
    ]
    assert uids(priors_of(PRESENT, there, 9)) == ["1.4", "1.2", "1.3", "1.1", "1.5"]
    assert uids(priors_of(PRESENT, there, 2)) == ["1.4", "1.2"]


def test_another_patient_with_the_same_id_is_not_this_one() -> None:
    there = [
        told(1, patient_name="Muster^Berta"),
        told(2, patient_id="P11"),
        told(3, patient_name=None),
        told(4, patient_name="muster^anna"),
    ]
    assert uids(priors_of(PRESENT, there, 9)) == ["1.4", "1.3"]


def test_later_is_not_earlier_and_of_the_same_day_the_time_decides() -> None:
    there = [
        told(1, "20260602"),
        told(2, "20260601", study_time="0800"),
        told(3, "20260601", study_time="1300"),
        told(4, "20260601"),
        told(5, None),
        told(9, "20250101"),  # the present study itself
    ]
    assert uids(priors_of(PRESENT, there, 9)) == ["1.2"]


def test_series_of_a_study_are_one_prior_with_their_counts() -> None:
    there = [told(1), told(1, series_instance_uid="1.1.2", modality="SR")]
    (prior,) = priors_of(PRESENT, there, 9)
    assert (len(prior.series), prior.modalities, prior.instances) == (2, ("CT", "SR"), 20)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 12), st.dates().map("{:%Y%m%d}".format), st.sampled_from(["P1", "P2", "p1"])
        ),
        max_size=20,
    ),
    st.integers(1, 5),
)
def test_never_more_than_wanted_never_later_never_of_another(
    there: list[tuple[int, str, str]], at_most: int
) -> None:
    dates = {study: date for study, date, _ in there}
    series = [told(study, dates[study], patient_id=patient) for study, _, patient in there]
    found = priors_of(PRESENT, series, at_most)
    assert len(found) <= at_most
    assert len(set(uids(found))) == len(found)
    for each in found:
        assert each.study_date < "20260601"
        assert {one.values["patient_id"] for one in each.series} == {"P1"}
