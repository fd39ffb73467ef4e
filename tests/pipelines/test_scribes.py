"""Documents are read in children with limits: what takes too much ends a child, and the next one is read."""

from collections.abc import Iterator

import pytest

from catalog.errors import DecodeError
from pipelines.decoding.codecs import Limits
from pipelines.documents.scribes import LIMITS, Scribes, Transcript

CDA = b'<ClinicalDocument xmlns="urn:hl7-org:v3"><title>Brief</title></ClinicalDocument>'


@pytest.fixture
def scribes() -> Iterator[Scribes]:
    made = Scribes(1)
    yield made
    made.close()


BIG = b"<ClinicalDocument>" + b"<a/>" * 1_000_000 + b"</ClinicalDocument>"


def test_what_takes_too_long_ends_a_child_and_the_next_document_is_read(scribes: Scribes) -> None:
    with pytest.raises(DecodeError, match=r"within 0\.02 s"):
        scribes.transcript("CDA", BIG, Limits(512 << 20, 60, 0.02))
    assert scribes.transcript("CDA", CDA) == Transcript("Brief")


def test_what_takes_too_much_memory_says_so(scribes: Scribes) -> None:
    scribes.transcript("CDA", CDA)
    with pytest.raises(DecodeError, match=r"wants more than 32 MiB|crashed"):
        scribes.transcript("CDA", BIG, Limits(32 << 20, 60, 60.0))
    assert scribes.transcript("CDA", CDA, LIMITS).text == "Brief"


def test_an_error_of_a_parser_repeats_nothing_of_the_document(scribes: Scribes) -> None:
    with pytest.raises(DecodeError) as raised:
        scribes.transcript("CDA", b"<ClinicalDocument><geheim></ClinicalDocument>")
    assert str(raised.value) == "cannot be read as CDA (ParseError)"
