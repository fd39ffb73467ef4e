"""What stands above images of a patient: who it is and what was made, in words; no I/O."""

from catalog.records import SeriesRecord

ANONYMOUS = "no name"


def banner_of(series: SeriesRecord) -> dict[str, str]:
    """Words of a banner, in the order in which they are shown, by what they are; what is not known is absent.

    They identify the patient: they go into a page, and never into a URL, a log or an error.
    """
    said = {
        "name": _name(series.patient_name) or ANONYMOUS,
        "birth date": _date(series.patient_birth_date),
        "sex": series.patient_sex,
        "patient ID": series.patient_id,
        "study date": _date(series.study_date),
        "study": series.study_description,
        "series": series.series_description,
    }
    return {what: words for what, words in said.items() if words}


def _name(name: str | None) -> str:
    """Family name, then what is given, of each way of writing it (PS3.5 6.2.1)."""
    groups = []
    for group in (name or "").split("="):
        family, _, rest = group.partition("^")
        given = " ".join(each for each in rest.split("^") if each)
        groups.append(", ".join(each for each in (family, given) if each))
    return " / ".join(each for each in groups if each)


def _date(date: str | None) -> str:
    """A DA as 2026-01-31; whatever else was written, as it is."""
    text = date or ""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdecimal() else text
