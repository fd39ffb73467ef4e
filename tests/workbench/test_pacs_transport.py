"""PDUs are followed through any cutting of the stream, and one that is too long is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.pacs.transport import PduGuard
from workbench.pacs.wire.pdu import LARGEST_CONTROL_PDU

LARGEST = 1000

pdus = st.lists(st.tuples(st.integers(1, 7), st.integers(0, LARGEST)), max_size=6)


def stream(found: list[tuple[int, int]]) -> bytes:
    return b"".join(bytes([kind, 0]) + size.to_bytes(4, "big") + b"\xff" * size for kind, size in found)


@given(pdus, st.lists(st.integers(1, 300), min_size=1))
def test_whole_pdus_pass_however_they_are_cut(found: list[tuple[int, int]], cuts: list[int]) -> None:
    data, guard, number = stream(found), PduGuard(LARGEST), 0
    while data:
        size = cuts[number % len(cuts)]
        guard.follow(data[:size])
        data, number = data[size:], number + 1
    assert guard.between


@given(pdus, st.integers(1, 5))
def test_a_cut_pdu_is_known_to_be_unfinished(found: list[tuple[int, int]], missing: int) -> None:
    guard = PduGuard(LARGEST)
    guard.follow(stream([*found, (1, 10)])[:-missing])
    assert not guard.between


@pytest.mark.parametrize(
    ("kind", "largest"), [(0x04, LARGEST), (0x01, LARGEST_CONTROL_PDU), (0x99, LARGEST_CONTROL_PDU)]
)
def test_the_largest_passes_and_one_byte_more_does_not(kind: int, largest: int) -> None:
    PduGuard(LARGEST).follow(bytes([kind, 0]) + largest.to_bytes(4, "big"))
    with pytest.raises(ConnectionError, match=f"announces {largest + 1} bytes"):
        PduGuard(LARGEST).follow(bytes([kind, 0]) + (largest + 1).to_bytes(4, "big"))
