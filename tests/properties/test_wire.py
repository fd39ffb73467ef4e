"""Command sets, PDUs and messages against pynetdicom's own encoder and decoder, and against hostile bytes."""

import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom import dimse_messages, dimse_primitives
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_items import PresentationDataValueItem
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context, build_role

from workbench.pacs.association import contexts_of
from workbench.pacs.proposed import STORAGE_CLASSES, SYNTAXES
from workbench.pacs.wire import negotiation, pdu
from workbench.pacs.wire.command import ELEMENTS, RESPONSE, Command, Field, decode, encode
from workbench.pacs.wire.failures import ProtocolError, WireError
from workbench.pacs.wire.messages import LARGEST_COMMAND, LARGEST_HELD, Message, Messages

numbers = st.integers(0, 0xFFFF)
uids = st.lists(st.integers(0, 10**9).map(str), min_size=2, max_size=6).map(".".join)
texts = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=16)
tags = st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=5).map(tuple)


def of_name(name: str) -> st.SearchStrategy[Any]:
    annotation = str(Command.__annotations__[name])
    if "uid" in name:
        return uids
    return next(
        kind for key, kind in {"tuple": tags, "str": texts, "int": numbers}.items() if key in annotation
    )


NAMES = [name for name, _ in ELEMENTS.values() if name not in ("command_field", "has_data_set")]
commands = st.builds(
    lambda field, given: Command(command_field=field, **given),
    st.sampled_from([each | response for each in Field for response in (0, RESPONSE)]),
    st.fixed_dictionaries({}, optional={name: of_name(name) for name in NAMES}),
)


@given(commands, st.booleans())
def test_a_command_set_comes_back_as_it_went(command: Command, has_data_set: bool) -> None:
    assert decode(encode(command, has_data_set=has_data_set)) == replace(command, has_data_set=has_data_set)


@given(numbers, uids, uids, st.integers(0, 2), texts, numbers)
def test_a_store_request_has_the_bytes_that_pynetdicom_gives_it(
    message_id: int, sop_class: str, instance: str, priority: int, origin: str, origin_id: int
) -> None:
    primitive = dimse_primitives.C_STORE()
    primitive.MessageID = message_id
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = UID(sop_class), UID(instance)
    primitive.Priority = priority
    primitive.MoveOriginatorApplicationEntityTitle = origin
    primitive.MoveOriginatorMessageID = origin_id
    theirs = dimse_messages.C_STORE_RQ()
    theirs.primitive_to_message(primitive)
    theirs.command_set.CommandDataSetType = 1
    (fragment,) = theirs.encode_msg(1, 0)
    ours = Command(
        command_field=Field.C_STORE, message_id=message_id, affected_sop_class_uid=sop_class,
        affected_sop_instance_uid=instance, priority=priority,
        move_originator_application_entity_title=origin, move_originator_message_id=origin_id,
    )  # fmt: skip
    ((_, value),) = fragment.presentation_data_value_list
    assert encode(ours, has_data_set=True) == value[1:]
    assert decode(value[1:]) == replace(ours, has_data_set=True)


@given(numbers, uids, numbers, st.integers(0, 0xFFFF), numbers)
def test_a_move_response_has_the_bytes_that_pynetdicom_gives_it(
    message_id: int, sop_class: str, done: int, failed: int, remaining: int
) -> None:
    primitive = dimse_primitives.C_MOVE()
    primitive.MessageIDBeingRespondedTo = message_id
    primitive.AffectedSOPClassUID = UID(sop_class)
    primitive.Status = 0xFF00
    primitive.NumberOfCompletedSuboperations = done
    primitive.NumberOfFailedSuboperations = failed
    primitive.NumberOfRemainingSuboperations = remaining
    theirs = dimse_messages.C_MOVE_RSP()
    theirs.primitive_to_message(primitive)
    (fragment,) = theirs.encode_msg(1, 0)
    ((_, value),) = fragment.presentation_data_value_list
    request = Command(command_field=Field.C_MOVE, message_id=message_id, affected_sop_class_uid=sop_class)
    ours = request.response(
        0xFF00,
        number_of_completed_suboperations=done,
        number_of_failed_suboperations=failed,
        number_of_remaining_suboperations=remaining,
    )
    assert encode(ours, has_data_set=False) == value[1:]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_command_set_are_told_apart(content: bytes) -> None:
    try:
        command = decode(content)
    except ProtocolError:
        return
    assert 0 <= command.command_field <= 0xFFFF


@given(commands, st.data())
def test_a_command_set_with_damage_is_one_or_is_refused(command: Command, data: st.DataObject) -> None:
    content = bytearray(encode(command, has_data_set=False))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    for damaged in (content, content[:at]):
        try:
            assert 0 <= decode(bytes(damaged)).command_field <= 0xFFFF
        except ProtocolError:
            continue


# --- PDUs ------------------------------------------------------------------------------------------------


@given(st.binary(max_size=3000), st.integers(pdu.SMALLEST_PDU, 1000), st.integers(1, 255))
def test_fragments_are_what_pynetdicom_reads(content: bytes, largest: int, context_id: int) -> None:
    stream = b"".join(pdu.fragments(context_id, 0, content, largest))
    found, controls = b"", []
    while stream:
        length = int.from_bytes(stream[2:6], "big")
        assert length <= largest
        theirs = P_DATA_TF()
        theirs.decode(stream[: 6 + length])
        (item,) = theirs.presentation_data_value_items
        assert item.presentation_context_id == context_id
        controls.append(item.presentation_data_value[0])
        found += item.presentation_data_value[1:]
        stream = stream[6 + length :]
    assert found == content
    assert controls == [0] * (len(controls) - 1) + [pdu.LAST]


@given(st.lists(st.tuples(st.integers(1, 255), st.binary(min_size=1, max_size=50)), min_size=1, max_size=5))
def test_values_are_those_that_pynetdicom_wrote(values: list[tuple[int, bytes]]) -> None:
    theirs = P_DATA_TF()
    for context_id, value in values:
        item = PresentationDataValueItem()
        item.presentation_context_id, item.presentation_data_value = context_id, value
        theirs.presentation_data_value_items.append(item)
    body = memoryview(theirs.encode())[pdu.HEADER_LENGTH :]
    assert [(each, bytes([control, *part])) for each, control, part in pdu.values_of(body)] == values


@given(st.binary(max_size=100))
def test_values_of_any_bytes_are_within_them(body: bytes) -> None:
    try:
        found = list(pdu.values_of(memoryview(body)))
    except ProtocolError:
        return
    assert sum(len(part) + pdu.VALUE_OVERHEAD for _, _, part in found) == len(body)


@pytest.mark.parametrize(("kind", "largest"), [(4, 1000), (1, pdu.LARGEST_CONTROL_PDU), (5, 1 << 20)])
def test_the_largest_pdu_passes_and_one_byte_more_does_not(kind: int, largest: int) -> None:
    assert pdu.header_of(struct.pack(">BxI", kind, largest), 1000) == (kind, largest)
    with pytest.raises(ProtocolError, match=f"announces {largest + 1} bytes; {largest} are allowed"):
        pdu.header_of(struct.pack(">BxI", kind, largest + 1), 1000)


@pytest.mark.parametrize("kind", [0, 8, 255])
def test_there_are_seven_types_of_pdu(kind: int) -> None:
    with pytest.raises(ProtocolError, match="no PDU of type") as caught:
        pdu.header_of(struct.pack(">BxI", kind, 4), 1000)
    assert caught.value.reason == pdu.UNRECOGNIZED_PDU


def test_aborts_and_rejections_are_what_pynetdicom_reads() -> None:
    abort, rejection = A_ABORT_RQ(), A_ASSOCIATE_RJ()
    abort.decode(pdu.abort(2, 6))
    rejection.decode(pdu.rejection(1, 1, 7))
    assert (abort.source, abort.reason_diagnostic) == (2, 6)
    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == (1, 1, 7)


# --- messages --------------------------------------------------------------------------------------------

STORE = Command(command_field=Field.C_STORE, message_id=1, affected_sop_class_uid="1.2")


def values(
    command: Command, data_set: bytes | None, largest: int, context_id: int = 1
) -> list[tuple[int, int, memoryview]]:
    encoded = encode(command, has_data_set=data_set is not None)
    stream = [*pdu.fragments(context_id, pdu.COMMAND, encoded, largest)]
    if data_set is not None:
        stream += pdu.fragments(context_id, 0, data_set, largest)
    whole, found = memoryview(b"".join(stream)), []
    while whole:
        length = int.from_bytes(whole[2:6], "big")
        found += pdu.values_of(whole[6 : 6 + length])
        whole = whole[6 + length :]
    return found


class Kept(bytearray):
    """A target in memory."""

    def write(self, fragment: memoryview, /) -> None:
        self.extend(fragment)


@given(commands, st.none() | st.binary(max_size=2000), st.integers(pdu.SMALLEST_PDU, 500), st.booleans())
def test_a_message_is_whole_with_its_last_fragment(
    command: Command, data_set: bytes | None, largest: int, is_held: bool
) -> None:
    messages, target = Messages({1}), Kept()
    found = [
        messages.take(*each, None if is_held else lambda *_: target)
        for each in values(command, data_set, largest)
    ]
    assert found[:-1] == [None] * (len(found) - 1)
    assert found[-1] is not None
    assert found[-1].command == replace(command, has_data_set=data_set is not None)
    assert found[-1].data_set == (data_set or b"" if is_held else b"")
    assert target == (b"" if is_held else data_set or b"")
    assert messages.is_between


@given(st.lists(st.tuples(st.sampled_from([1, 3]), st.integers(0, 3), st.binary(max_size=30)), max_size=20))
def test_any_fragments_make_messages_or_break_a_rule(found: list[tuple[int, int, bytes]]) -> None:
    messages = Messages({1})
    for context_id, control, fragment in found:
        try:
            message = messages.take(context_id, control, memoryview(fragment))
        except ProtocolError:
            return
        assert message is None or isinstance(message, Message)


def first(command: Command, data_set: bytes) -> tuple[Messages, list[tuple[int, int, memoryview]]]:
    """Messages that have taken the command set of one, and the values of its data set."""
    messages, (begin, *rest) = Messages({1, 3}), values(command, data_set, 1000)
    assert messages.take(*begin) is None
    return messages, rest


def test_messages_do_not_mix() -> None:
    messages, _ = first(STORE, b"1234")
    with pytest.raises(ProtocolError, match="within another"):
        messages.take(3, 0, memoryview(b""))
    messages, _ = first(STORE, b"1234")
    with pytest.raises(ProtocolError, match="within a message"):
        messages.take(1, pdu.COMMAND, memoryview(b""))
    with pytest.raises(ProtocolError, match="without its command set"):
        Messages({1}).take(1, 0, memoryview(b""))
    with pytest.raises(ProtocolError, match="no accepted presentation context"):
        Messages({1}).take(5, 0, memoryview(b""))


def test_what_is_held_is_bounded() -> None:
    messages = Messages({1})
    block = memoryview(bytes(LARGEST_COMMAND))
    messages.take(1, pdu.COMMAND, block)
    with pytest.raises(ProtocolError, match="too long"):
        messages.take(1, pdu.COMMAND, block[:1])
    messages, _ = first(STORE, b"1234")
    block = memoryview(bytes(LARGEST_HELD))
    messages.take(1, 0, block)
    with pytest.raises(ProtocolError, match="too long"):
        messages.take(1, 0, block[:1])


# --- what is negotiated ----------------------------------------------------------------------------------


def test_both_sides_agree_on_the_same() -> None:
    syntaxes = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
    contexts = [build_context("1.2.840.10008.1.1"), build_context("1.2.3", syntaxes), build_context("1.2.4")]
    roles = [build_role("1.2.3", scp_role=True)]
    supported = [build_context("1.2.840.10008.1.1"), build_context("1.2.3", syntaxes[1])]
    supported[1].scu_role, supported[1].scp_role = True, True
    request = negotiation.decode_request(negotiation.encode_request("ONE", "OTHER", contexts, roles, 4096))
    assert (request.calling_ae_title, request.called_ae_title, request.maximum_length) == (
        "ONE",
        "OTHER",
        4096,
    )
    answer, theirs = negotiation.encode_acceptance(request, supported, 8192)
    ours = negotiation.decode_acceptance(answer, "ONE", "OTHER", contexts, roles)
    assert ours.maximum_length == 8192
    for agreed in (ours, theirs):
        assert {key: each.transfer_syntax for key, each in agreed.accepted.items()} == {
            1: [syntaxes[1]],
            3: [syntaxes[1]],
        }
        assert [each.abstract_syntax for each in agreed.rejected] == ["1.2.4"]
    assert (ours.accepted[3].as_scp, theirs.accepted[3].as_scu) == (True, True)


def test_a_request_has_the_bytes_that_pynetdicom_gives_it() -> None:
    contexts = [
        *contexts_of((each, SYNTAXES) for each in STORAGE_CLASSES[:120]),
        build_context("1.2.840.10008.1.1", "1.2.840.10008.1.2"),
    ]
    roles = [build_role(STORAGE_CLASSES[0], scp_role=True), build_role("1.2.3", scu_role=True, scp_role=True)]
    content = negotiation.encode_request("ONE", "ANOTHER ONE 1234", contexts, roles, 1 << 18)

    theirs = A_ASSOCIATE()
    theirs.application_context_name = "1.2.840.10008.3.1.1.1"
    theirs.calling_ae_title, theirs.called_ae_title = "ONE", "ANOTHER ONE 1234"
    theirs.presentation_context_definition_list = contexts
    length, uid, name = (
        MaximumLengthNotification(),
        ImplementationClassUIDNotification(),
        ImplementationVersionNameNotification(),
    )
    length.maximum_length_received = 1 << 18
    uid.implementation_class_uid = negotiation.IMPLEMENTATION_CLASS_UID
    name.implementation_version_name = negotiation.IMPLEMENTATION_VERSION_NAME
    theirs.user_information = [length, uid, name, *roles]
    pdu_of_theirs = A_ASSOCIATE_RQ()
    pdu_of_theirs.from_primitive(theirs)

    assert content == pdu_of_theirs.encode()
    assert [each.abstract_syntax for each in contexts[:120]] == list(STORAGE_CLASSES[:120])


@given(st.data())
def test_a_request_with_damage_is_one_or_is_refused(data: st.DataObject) -> None:
    content = bytearray(negotiation.encode_request("ONE", "OTHER", [build_context("1.2.3")], [], 4096))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(6, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        request = negotiation.decode_request(bytes(content))
        negotiation.encode_acceptance(request, [build_context("1.2.3")], 4096)
    except WireError:
        pass
