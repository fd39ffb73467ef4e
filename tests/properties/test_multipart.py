"""A multipart body means the same however it comes, and one that was cut short is never taken for whole."""

from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.pacs.web.multipart import LARGEST_HEAD, Begin, End, Multipart

BOUNDARY = "b-2026"
MARK = b"--" + BOUNDARY.encode()

contents = st.lists(
    st.one_of(
        st.binary(max_size=80),
        st.sampled_from([b"\r\n", b"\r\n--", b"\r\n--b-202", b"--", b"\r\n\r\n", b"-", b"\r", b"\r\r\n--b-"]),
    ),
    max_size=5,
).filter(lambda all_: not any(MARK in each for each in all_))


def body_of(parts: Iterable[bytes]) -> bytes:
    heads = b"".join(MARK + b"\r\nContent-Type: application/dicom\r\n\r\n" + each + b"\r\n" for each in parts)
    return b"preamble\r\n" + heads + MARK + b"--\r\nepilogue"


def pieces_of(body: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(each % (len(body) + 1) for each in cuts), len(body)]
    return [body[begin:end] for begin, end in pairwise(at)]


def parsed(pieces: Iterable[bytes]) -> tuple[list[bytes], bool]:
    """Whole parts, and whether the body is closed."""
    parser, whole, current = Multipart(BOUNDARY), [], bytearray()
    for piece in pieces:
        for event in parser.feed(piece):
            match event:
                case Begin(content_type):
                    assert content_type == "application/dicom"
                    current = bytearray()
                case End():
                    whole.append(bytes(current))
                case _:
                    current += event
    return whole, parser.closed


@given(contents, st.lists(st.integers(0, 10_000), max_size=12))
def test_parts_are_the_same_however_the_body_is_cut_into_pieces(parts: list[bytes], cuts: list[int]) -> None:
    assert parsed(pieces_of(body_of(parts), cuts)) == (parts, True)
    assert parsed(bytes([each]) for each in body_of(parts)) == (parts, True)


@given(contents, st.integers(0, 10_000))
def test_a_body_that_is_cut_short_gives_whole_parts_alone_and_is_not_closed(
    parts: list[bytes], at: int
) -> None:
    body = body_of(parts)
    whole, closed = parsed([body[: at % body.index(MARK + b"--")]])
    assert not closed
    assert whole == parts[: len(whole)]


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_whatever_comes_is_parsed_or_refused_in_words(pieces: list[bytes]) -> None:
    parser = Multipart(BOUNDARY)
    with suppress(ValueError):
        for piece in (MARK + b"\r\n\r\n", *pieces):
            for event in parser.feed(piece):
                assert isinstance(event, bytes | Begin | End)


@pytest.mark.parametrize(
    "body",
    [
        b"x" * (LARGEST_HEAD * 2 + 100),
        MARK + b"\r\n" + b"a: b\r\n" * LARGEST_HEAD,
        MARK + b" " * (LARGEST_HEAD + 2),
        MARK + b"--" + b"x" * (LARGEST_HEAD + 2),
        MARK + b"something\r\n\r\n",
    ],
)
def test_what_does_not_end_where_it_must_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"do not end|too much|follows a boundary"):
        parsed(pieces_of(body, list(range(0, len(body), 1000))))


@pytest.mark.parametrize("boundary", ["", "a" * 71, "with\r\nline", "ends ", 'quo"te', "ü"])
def test_no_boundary_is_what_can_be_none(boundary: str) -> None:
    with pytest.raises(ValueError, match=r"boundary|codec"):
        Multipart(boundary)
