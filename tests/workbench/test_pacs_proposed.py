"""What is proposed to get instances: each encoding alone as far as there is room (PS3.8 7.1.1.13)."""

from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import HEVCMP51, UID, ImplicitVRLittleEndian, JPEG2000Lossless

from workbench.pacs.association import CONTEXTS_AT_MOST, contexts_of
from workbench.pacs.proposed import STORAGE_CLASSES, SYNTAXES, grouped, left_of, wanted_of

ROOM = CONTEXTS_AT_MOST - 1
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


def pairs_of(groups: object) -> list[tuple[str, str]]:
    return [(each, syntax) for each, syntaxes in groups for syntax in syntaxes]  # type: ignore[attr-defined]


def test_each_encoding_of_a_class_has_a_context_of_its_own_and_what_the_node_tells_of_comes_first() -> None:
    told = [(CT, str(HEVCMP51)), (CT, str(JPEG2000Lossless))]
    groups = grouped(wanted_of([CT, MR], told), told, ROOM)
    assert {len(syntaxes) for _, syntaxes in groups} == {1}
    assert pairs_of(groups)[:2] == told
    assert sorted(pairs_of(groups)) == sorted(
        {*told, *((each, str(syntax)) for each in (CT, MR) for syntax in SYNTAXES)}
    )
    contexts = contexts_of(groups)
    assert [(each.abstract_syntax, each.transfer_syntax) for each in contexts] == [
        (UID(each), list(syntaxes)) for each, syntaxes in groups
    ]


@given(
    count=st.integers(1, len(STORAGE_CLASSES)),
    told=st.lists(st.tuples(st.sampled_from(STORAGE_CLASSES[:5]), st.sampled_from(SYNTAXES).map(str))),
    room=st.integers(6, ROOM),
)
def test_an_association_proposes_everything_of_as_many_classes_as_it_has_room_for(
    count: int, told: list[tuple[str, str]], room: int
) -> None:
    wanted = wanted_of(STORAGE_CLASSES[:count], told)
    groups = grouped(wanted, told, room)
    assert len(groups) <= room
    there = list(wanted)[:room]
    assert pairs_of(groups) == [(each, syntax) for each in there for syntax in wanted[each]]
    assert len(groups) == min(room, sum(map(len, wanted.values())))  # no room is left unused
    lone = {(each, syntaxes[0]) for each, syntaxes in groups if len(syntaxes) == 1}
    told_there = {pair for pair in told if pair[0] in there}
    assert told_there <= lone or lone <= told_there | {(each, wanted[each][-1]) for each in there}


def test_what_the_node_left_aside_or_had_no_room_is_proposed_the_next_time_and_nothing_else() -> None:
    j2k, implicit = str(JPEG2000Lossless), str(ImplicitVRLittleEndian)
    wanted = {CT: [implicit, j2k], MR: [implicit, j2k], "1.2.3": [implicit]}
    groups = grouped(wanted, (), 2)
    assert groups == [(CT, [implicit, j2k]), (MR, [implicit, j2k])]
    left = left_of(wanted, groups, {(CT, implicit)})
    assert left == {CT: [j2k], "1.2.3": [implicit]}
    assert left_of(left, grouped(left, (), 2), {(CT, j2k)}) == {}
