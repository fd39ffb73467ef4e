"""The table of attributes says what the data dictionary says (PS3.6 section 6)."""

import pytest
from pydicom.datadict import dictionary_keyword, dictionary_VM, dictionary_VR

from catalog.attributes import ATTRIBUTES, Attribute, Kind


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda each: each.keyword)
def test_an_attribute_has_the_keyword_and_representation_of_the_standard(attribute: Attribute) -> None:
    assert attribute.keyword == dictionary_keyword(attribute.tag)
    assert attribute.vr == dictionary_VR(attribute.tag)
    if attribute.kind in (Kind.TEXT, Kind.NUMBERS):
        assert attribute.many == (dictionary_VM(attribute.tag) != "1")
