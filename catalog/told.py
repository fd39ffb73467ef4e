"""What a source elsewhere tells of series, column by column: what of it is sound, and why the rest is not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

from catalog.attributes import SERIES, STUDY, Kind
from catalog.identifiers import digest, is_uid
from catalog.matching import is_storable
from catalog.records import Rejection, RemoteSeries, Value
from catalog.upsert import identity

type Columns = Mapping[str, Sequence[Value]]
"""Name to values, one a series: columns of `catalog.attributes`, and those of `SAID`."""
SAID = ("address", "instances", "bytes", "collection", "analysis_result", "license", "doi")
"""What stands beside the attributes."""
LONGEST = 10_000
"""Characters of a text."""
LONGEST_KEY = 200
"""Characters of a text by which rows are found: an entry of an index of PostgreSQL holds 2,700 bytes."""
_UIDS = ("series_instance_uid", "study_instance_uid")
_PATIENT = ("patient_id", "issuer_of_patient_id", "patient_name")
_KEYS = frozenset((*_PATIENT, "modality", "body_part_examined"))
_INTEGERS = {each.column for each in (*STUDY, *SERIES) if each.kind is Kind.INTEGER} | {"instances", "bytes"}
_REALS = {each.column for each in (*STUDY, *SERIES) if each.kind is Kind.REAL}
_LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class Sifted:
    """What of some series can be recorded, each of them once."""

    columns: Columns
    """Those that are not empty."""
    identities: Sequence[str]
    """Of the patient of each."""
    digests: Sequence[str]
    """Of all that is told of each."""
    rejected: tuple[Rejection, ...] = ()
    twice: int = 0
    """Series that a later one with the same UID took the place of."""

    @property
    def uids(self) -> list[str]:
        """Series Instance UIDs, those of the rejected too."""
        return [*map(str, self.columns.get(_UIDS[0], ())), *(each.path for each in self.rejected)]


def columns_of(told: Sequence[RemoteSeries]) -> Columns:
    """The same, column by column."""
    names = dict.fromkeys(name for each in told for name in each.values)
    columns: dict[str, Sequence[Value]] = {name: [each.values.get(name) for each in told] for name in names}
    return columns | {name: [getattr(each, name) for each in told] for name in SAID}


def sifted(told: Columns) -> Sifted:
    """Leave out what cannot be recorded, with its reason, and all but the last of those told twice."""
    count = max(map(len, told.values()), default=0)
    nothing: Sequence[Value] = [None] * count
    columns = dict.fromkeys((*_UIDS, "address"), nothing) | dict(told)
    uids, reasons = columns[_UIDS[0]], dict[int, str]()
    for name in sorted(columns, key=_order):
        columns[name] = _checked(name, columns[name], reasons)
    last = {uid: at for at, uid in enumerate(columns[_UIDS[0]]) if at not in reasons}
    if len(last) < count:
        chosen = bytearray(count)
        for at in last.values():
            chosen[at] = 1
        columns = {name: list(compress(column, chosen)) for name, column in columns.items()}
    columns = {name: column for name, column in columns.items() if column.count(None) < len(column)}
    return Sifted(
        columns,
        _identities(columns, len(last)),
        _digests(columns, len(last)),
        tuple(Rejection(str(uids[at] or "")[:64], reasons[at]) for at in sorted(reasons)),
        count - len(reasons) - len(last),
    )


# --- what a column may hold ------------------------------------------------------------------------------


def _order(name: str) -> tuple[int, str]:
    """UIDs are looked at first, then numbers, then texts; the first fault of a series is its reason."""
    level = _UIDS.index(name) if name in _UIDS else 2 if name in _INTEGERS | _REALS else 3
    return level, name


def _checked(name: str, column: Sequence[Value], reasons: dict[int, str]) -> Sequence[Value]:
    """The values as a column of the database holds them; a series with one that is none gets its reason."""
    is_sound, sound, words = _kind(name)
    if is_sound(column):
        return column
    values: list[Value] = []
    for at, value in enumerate(column):
        try:
            values.append(sound(value))
        except ValueError:
            values.append(None)
            reasons.setdefault(at, f"its {name} {words}")
    return values


type _Kind = tuple[Callable[[Sequence[Value]], bool], Callable[[Value], Value], str]
"""Whether all of a column are sound as they stand, what one value is in the database, and what it is else."""


def _kind(name: str) -> _Kind:
    if name in _UIDS:
        return _are_uids, _uid, "is no UID"
    if name in _INTEGERS:
        return _are_integers, _integer, "is no number"
    if name in _REALS:
        return _are_reals, _real, "is no number"
    limit = LONGEST_KEY if name in _KEYS else LONGEST
    required = name == "address"
    return (
        lambda column: _are_texts(column, limit, required=required),
        lambda value: _text(value, limit, required=required),
        f"is no text of at most {limit:,} characters",
    )


def _types(column: Iterable[Value]) -> set[type]:
    return set(map(type, column))


def _are_uids(column: Sequence[Value]) -> bool:
    return _types(column) == {str} and all(map(is_uid, map(str, set(column))))


def _uid(value: Value) -> str:
    if not isinstance(value, str) or not is_uid(value):
        raise ValueError
    return str(value)


def _are_integers(column: Sequence[Value]) -> bool:
    numbers = [each for each in column if each is not None]
    return _types(numbers) <= {int} and all(map(_LARGEST.__gt__, map(abs, numbers)))  # type: ignore[arg-type]


def _integer(value: Value) -> int | None:
    if value is None:
        return None
    number = _real(value)
    if number is None or number != int(number):
        raise ValueError
    return int(value)


def _are_reals(column: Sequence[Value]) -> bool:
    numbers = [each for each in column if each is not None]
    return _types(numbers) <= {float} and all(-_LARGEST < float(each) < _LARGEST for each in numbers)


def _real(value: Value) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise ValueError
    return float(value)


def _are_texts(column: Sequence[Value], limit: int, *, required: bool) -> bool:
    texts = [each for each in column if each is not None]
    if not _types(texts) <= {str} or (required and len(texts) < len(column)):
        return False
    if max(map(len, map(str, texts)), default=0) > limit:
        return False
    together = "".join(map(str, texts))
    return "\0" not in together and (together.isascii() or is_storable(together))


def _text(value: Value, limit: int, *, required: bool) -> str | None:
    if value is None and not required:
        return None
    if not isinstance(value, str) or len(value) > limit or not is_storable(value):
        raise ValueError
    return str(value)


# --- what is made of them --------------------------------------------------------------------------------


def _identities(columns: Columns, count: int) -> list[str]:
    nothing: Sequence[Value] = [None] * count
    named = list(zip(*(columns.get(name, nothing) for name in _PATIENT), strict=True))
    studies = columns.get(_UIDS[1], nothing)
    told = [(*each, None if each[0] else study) for each, study in zip(named, studies, strict=True)]
    of = {each: identity(dict(zip((*_PATIENT, _UIDS[1]), each, strict=True))) for each in set(told)}
    return [of[each] for each in told]


def _digests(columns: Columns, count: int) -> list[str]:
    """Digest of the attributes of each, by name, and of what stands beside them."""
    attributes = [
        _written(columns[name], lambda value, name=name: f"({name!r}, {value!r}), ", "")  # type: ignore[misc]
        for name in sorted(columns.keys() - set(SAID))
    ]
    nothing: Sequence[Value] = [None] * count
    beside = [_written(columns.get(name, nothing), "{!r}, ".format, "None, ") for name in SAID]
    texts = zip(
        map("".join, zip(*attributes, strict=True)), map("".join, zip(*beside, strict=True)), strict=True
    )
    return [digest(f"([{one[:-2]}], ({other[:-2]}))".encode())[:32] for one, other in texts]


def _written(column: Sequence[Value], written: Callable[[Value], str], nothing: str) -> Iterable[str]:
    """Each value written; each that occurs only once."""
    of = dict(zip(values := set(column), map(written, values), strict=True)) | {None: nothing}
    return map(of.__getitem__, column)
