"""What is proposed to get instances: each encoding in a presentation context of its own (PS3.8 7.1.1.13).

Of a context with several transfer syntaxes a node picks one (PS3.8 section 9.3.3.2). Instances of the same
class in another would then not come, or not as they lie.
"""

from collections.abc import Container, Mapping, Sequence

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPHL,
    MPEG2MPML,
    MPEG4HP41,
    MPEG4HP41BD,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom.presentation import StoragePresentationContexts

SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian,
    JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, HTJ2KLosslessRPCL,
    RLELossless, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K, MPEG2MPML,
    MPEG2MPHL, MPEG4HP41, MPEG4HP41BD,
)  # fmt: skip
"""What is proposed for every SOP class; a node that keeps an encoding may send it as it is."""
STORAGE_CLASSES = tuple(str(each.abstract_syntax) for each in StoragePresentationContexts)
"""What is proposed where a node does not tell which classes its instances have: as many as go together."""

type Pair = tuple[str, str]
"""SOP class, transfer syntax."""
type Wanted = Mapping[str, Sequence[str]]
"""Transfer syntaxes of each SOP class, those that matter most first."""
type Group = tuple[str, Sequence[str]]
"""A presentation context: a SOP class, and the transfer syntaxes that it is proposed with."""


def wanted_of(classes: Sequence[str], told: Sequence[Pair]) -> Wanted:
    """Return what to propose: of each class the encodings that the node tells of, then all the others."""
    return {
        each: list(dict.fromkeys([*(syntax for of, syntax in told if of == each), *map(str, SYNTAXES)]))
        for each in classes
    }


def grouped(wanted: Wanted, told: Container[Pair], room: int) -> Sequence[Group]:
    """Return what one association proposes: each encoding alone, as far as there is room.

    What the node tells of is alone before anything else is; then each class has its next. The last context of
    a class has whatever is left of it.

    Parameters
    ----------
    room
        How many contexts there may be, 1 or more; classes that find none are left out.
    """
    some = {each: syntaxes for each, syntaxes in list(wanted.items())[:room] if syntaxes}
    ranked = [
        ((each, syntax) not in told, rank, each)
        for each, syntaxes in some.items()
        for rank, syntax in enumerate(syntaxes[:-1])
    ]
    alone = dict.fromkeys(some, 0)
    for _, _, each in sorted(ranked)[: room - len(some)]:
        alone[each] += 1
    return [
        (each, group)
        for each, syntaxes in some.items()
        for group in (*([syntax] for syntax in syntaxes[: alone[each]]), syntaxes[alone[each] :])
    ]


def left_of(wanted: Wanted, proposed: Sequence[Group], accepted: Container[Pair]) -> Wanted:
    """Return what a further association is worth: encodings the node had to leave aside, or without room."""
    left: dict[str, Sequence[str]] = {}
    for each, syntaxes in proposed:
        if any((each, syntax) in accepted for syntax in syntaxes):
            rest = [syntax for syntax in syntaxes if (each, syntax) not in accepted]
            left[each] = [*left.get(each, ()), *rest]
    there = {each for each, _ in proposed}
    left |= {each: syntaxes for each, syntaxes in wanted.items() if each not in there}
    return {each: syntaxes for each, syntaxes in left.items() if syntaxes}
