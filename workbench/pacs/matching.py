"""What a node is asked for: attributes of patient, study and series, by name, with what they shall match."""

from collections.abc import Mapping

from catalog.attributes import PATIENT, SERIES, STUDY, Attribute
from catalog.errors import QuestionError
from catalog.matching import attribute_named

OF_STUDY, OF_SERIES = (*PATIENT, *STUDY), SERIES
"""What is asked at the level of studies (Study Root, PS3.4 C.6.2.1), and of series."""


def asked_of(matching: Mapping[str, str]) -> dict[Attribute, str]:
    """Return the attributes of a question by keyword or column name.

    Raises
    ------
    catalog.errors.QuestionError
        If a name is no attribute of patient, study or series.
    """
    asked = {attribute_named(name): str(value) for name, value in matching.items()}
    for attribute in asked:
        if attribute not in (*OF_STUDY, *OF_SERIES):
            raise QuestionError(
                f"{attribute.keyword} is of the level of instances; a node is asked for studies and series"
            )
    return asked
