"""The manifest of a cohort: one JSON file without names or IDs of patients, written and read piece by piece.

    {"format": "imaging-workbench cohort", "version": 2, "name": "lung-2026",
     "question": {"where": "SliceThickness <= 1.5", "matching": {"modality": "CT"}},
     "approval": "EK 2026/123", "expires": "2027-12-31", "frozen": "2026-11-24T13:00:00+00:00",
     "digest": "…64 hexadecimal digits…",
     "series": [
      {"series_instance_uid": "1.2.3",
       "instances": {"1.2.3.1": ["…digest of the header…", 526336, "…digest of the whole file…"], …}}, …
     ]}

An instance has the digest of its header, the bytes of its file, and the digest of the whole file, which is
empty where it was frozen without reading it. Version 1 had the digest of the header alone; it is still read,
and a cohort of version 1 goes out as it came.

`series` stands last, its UIDs and those within it in the order of their characters. `question` and `expires`
are null where there is none; a question that names what tells of a patient is left out. A manifest comes from
outside: it is read one series at a time, and whatever it holds, no more than `SERIES_LIMIT` characters of it
are in memory as JSON.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from catalog.errors import CohortError
from catalog.identifiers import digest, digest_of_texts, is_uid
from catalog.records import CohortItem, CohortRecord, Question

FORMAT, VERSION = "imaging-workbench cohort", 2
HEADERS_ALONE = 1
"""The version that kept nothing but the digests of headers."""
SERIES_LIMIT = 16 * 2**20
"""Characters of one series; some 65,000 instances."""
HEAD_LIMIT = 64 * 2**10
"""Characters of any other value."""
APPROVAL_LIMIT = 200

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SPACE = re.compile(r"[ \t\r\n]*")
_HEAD = ("format", "version", "name", "question", "approval", "expires", "frozen", "digest")


# --- what is said of a cohort ----------------------------------------------------------------------------


def check_name(name: object) -> str:
    """Return the name of a cohort.

    Raises
    ------
    CohortError
        If it is none.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise CohortError(
        "the name of a cohort has 1 to 64 letters, digits, dots, hyphens and underscores, and begins with a "
        "letter or a digit: lung-2026"
    )


def check_approval(approval: object) -> str:
    """Return the number of an approval; raises `CohortError` where it can be none."""
    if isinstance(approval, str) and len(approval) <= APPROVAL_LIMIT and approval.isprintable():
        return approval.strip()
    raise CohortError(f"an approval is one line of text, of {APPROVAL_LIMIT} characters at most")


def check_expires(expires: object) -> date | None:
    """Return the last day of an approval, from a date or its text; raises `CohortError` for all else."""
    if expires is None or (isinstance(expires, date) and not isinstance(expires, datetime)):
        return expires
    if isinstance(expires, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", expires, re.ASCII):
        try:
            return date.fromisoformat(expires)
        except ValueError:
            pass
    raise CohortError("the last day of an approval is a date, written 2027-12-31")


def question_text(question: Question | None) -> str:
    """Return a question as JSON in one form; empty where there is none."""
    if question is None:
        return ""
    matching = {name: _plain(value) for name, value in sorted(question.matching.items())}
    return json.dumps({"where": question.where, "matching": matching})


def _plain(value: Any) -> Any:
    match value:
        case None | str() | int() | float():
            return value
        case tuple():
            return {"range": [_plain(each) for each in value]}
        case set() | frozenset():
            return sorted(map(_plain, value), key=str)
        case list():
            return [_plain(each) for each in value]
    raise CohortError(f"a question with a {type(value).__name__} cannot be kept; give its text")


def question_of(value: object) -> Question | None:
    """Return the question that `question_text` wrote, as JSON was read; raises `CohortError`."""
    if value is None:
        return None
    if isinstance(value, dict) and value.keys() == {"where", "matching"}:
        where, matching = value["where"], value["matching"]
        if isinstance(where, str | None) and isinstance(matching, dict):
            return Question(where, {name: _matched(each) for name, each in matching.items()})
    raise CohortError("its question is no question")


def _matched(value: Any) -> Any:
    return [_one(each) for each in value] if isinstance(value, list) else _one(value)


def _one(value: Any) -> Any:
    match value:
        case None | str() | int() | float():
            return value
        case {"range": [str() | int() | float() | None as low, str() | int() | float() | None as high]}:
            return (low, high)
    raise CohortError("its question is no question")


def cohort_texts(
    version: int,
    question: str,
    approval: str,
    expires: date | None,
    frozen: datetime,
    items: Iterable[CohortItem],
) -> Iterator[str]:
    """Return the texts whose digest is that of a cohort; items in the order of their UIDs."""
    yield from (f"{FORMAT} {version}", question, approval, expires.isoformat() if expires else "")
    yield frozen.astimezone(UTC).isoformat()
    for item in items:
        yield from (item.series_instance_uid, item.sop_instance_uid, item.header_digest)
        if version > HEADERS_ALONE:
            yield from (str(item.size), item.content_digest)


def digest_of_question(question: str) -> str:
    """SHA-256 of a question as `question_text` has it."""
    return digest(question.encode())


def digest_of_cohort(texts: Iterable[str]) -> str:
    """SHA-256 of what `cohort_texts` gives."""
    return digest_of_texts(texts)


# --- writing ---------------------------------------------------------------------------------------------


def format_manifest(record: CohortRecord, question: str, items: Iterable[CohortItem]) -> Iterator[bytes]:
    """Return the manifest in parts, one a series.

    Parameters
    ----------
    record
        The cohort.
    question
        What of its question goes out, as `question_text` has it; empty for nothing.
    items
        Its instances, by series.
    """
    head: dict[str, Any] = {
        "format": FORMAT,
        "version": record.version,
        "name": record.name,
        "question": json.loads(question) if question else None,
        "approval": record.approval,
        "expires": record.expires.isoformat() if record.expires else None,
        "frozen": record.frozen.astimezone(UTC).isoformat(),
        "digest": record.digest,
    }
    yield (json.dumps(head)[:-1] + ',\n "series": [').encode()
    separator = "\n  "
    for uid, group in groupby(items, key=lambda each: each.series_instance_uid):
        instances = {each.sop_instance_uid: _said(record.version, each) for each in group}
        text = json.dumps({"series_instance_uid": uid, "instances": instances})
        if len(text) > SERIES_LIMIT:
            raise CohortError(f"series {uid} has too many instances for a manifest: {len(instances):,}")
        yield (separator + text).encode()
        separator = ",\n  "
    yield b"\n ]}\n"


def _said(version: int, item: CohortItem) -> str | list[str | int | None]:
    if version == HEADERS_ALONE:
        return item.header_digest
    return [item.header_digest, item.size, item.content_digest]


# --- reading ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """What a manifest says before its series."""

    name: str
    question: Question | None
    approval: str
    expires: date | None
    frozen: datetime
    digest: str
    """Empty where it is not known yet."""
    version: int = VERSION


def parse_manifest(chunks: Iterator[str]) -> tuple[ManifestHead, Iterator[CohortItem]]:
    """Return the head of a manifest, and its instances as they are read.

    Parameters
    ----------
    chunks
        Its text, in pieces of any length.

    Raises
    ------
    CohortError
        If it is no manifest; the iterator raises it, too.
    """
    text = _Text(chunks)
    head = _head(text)
    return head, _items(text, head.version)


class _Text:
    """A JSON text that is read value by value."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks = chunks
        self._rest = ""
        self._at = 0
        self._decoder = json.JSONDecoder(object_pairs_hook=_each_once, parse_constant=_no_number)

    def next(self) -> str:
        """Return the next character that is no space; empty at the end."""
        while True:
            space = _SPACE.match(self._rest, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._rest):
                return self._rest[self._at]
            self._rest, self._at = "", 0
            if not self._more():
                return ""

    def take(self, character: str) -> None:
        """Pass over a character that must be there."""
        found = self.next()
        if found != character:
            raise _damaged(f"it has {found!r}, where {character!r} should be" if found else "it is cut")
        self._at += 1

    def value(self, limit: int) -> Any:
        """Return the next value, of at most so many characters."""
        self.next()
        wanted = 1024
        while True:
            whole = self._fill(wanted)
            try:
                value, end = self._decoder.raw_decode(self._rest[self._at : self._at + wanted])
                if whole or end < wanted:  # else a number may go on
                    self._at += end
                    return value
            except RecursionError:
                raise _damaged("its values lie too deep in one another") from None
            except CohortError:
                raise
            except ValueError:  # cut, or no JSON, or a number of thousands of digits
                if whole:
                    raise _damaged("it is no JSON, or cut") from None
            if wanted >= limit:
                raise _damaged(f"it is no JSON, or one of its values has more than {limit:,} characters")
            wanted = min(4 * wanted, limit)

    def _fill(self, wanted: int) -> bool:
        """Have so many characters at hand; whether these are all that there are."""
        while len(self._rest) - self._at < wanted:
            if not self._more():
                return True
        return False

    def _more(self) -> bool:
        chunk = next(self._chunks, "")
        self._rest, self._at = self._rest[self._at :] + chunk, 0
        return bool(chunk)


def _damaged(words: str) -> CohortError:
    return CohortError(f"no manifest of a cohort: {words}")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _damaged("something in it is named twice")
    return values


def _no_number(_text: str) -> Any:
    raise _damaged("it has a number that is none")


def _head(text: _Text) -> ManifestHead:
    text.take("{")
    values: dict[str, Any] = {}
    while (key := _key(text)) != "series":
        if key not in _HEAD or key in values:
            raise _damaged("it says something twice, or what is not known to its version")
        values[key] = text.value(HEAD_LIMIT)
        text.take(",")
    text.take("[")
    if values.get("format") != FORMAT:
        raise _damaged(f"its format is not {FORMAT!r}")
    if type(values.get("version")) is not int or not HEADERS_ALONE <= values["version"] <= VERSION:
        raise _damaged(f"this workbench reads up to version {VERSION}; update it, where this one is newer")
    missing = [each for each in _HEAD if each not in values]
    if missing:
        raise _damaged(f"it does not say {', '.join(missing)}")
    try:
        return _checked(values)
    except CohortError as error:
        raise _damaged(str(error)) from None


def _key(text: _Text) -> str:
    key = text.value(HEAD_LIMIT)
    if not isinstance(key, str):
        raise _damaged("a text should be where something else is")
    text.take(":")
    return key


def _checked(values: Mapping[str, Any]) -> ManifestHead:
    if not isinstance(values["digest"], str) or not _is_digest(values["digest"]):
        raise CohortError("its digest is none")
    return ManifestHead(
        check_name(values["name"]),
        question_of(values["question"]),
        check_approval(values["approval"]),
        check_expires(values["expires"]),
        _moment(values["frozen"]),
        values["digest"],
        values["version"],
    )


def _moment(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise CohortError("when it was frozen is no time with a time zone")


def _items(text: _Text, version: int) -> Iterator[CohortItem]:
    before, separator = "", ""
    while text.next() != "]":
        if separator:
            text.take(separator)
        separator = ","
        uid, instances = _series(text.value(SERIES_LIMIT))
        if uid <= before:
            raise _damaged(f"series {uid} is there twice, or not in the order of the UIDs")
        before = uid
        for sop_instance_uid, said in sorted(instances.items()):
            if not is_uid(sop_instance_uid):
                raise _damaged(f"an instance of series {uid} has no UID")
            yield CohortItem(uid, sop_instance_uid, *_known(version, sop_instance_uid, said))
    text.take("]")
    text.take("}")
    if text.next():
        raise _damaged("something follows its end")


def _series(value: object) -> tuple[str, Mapping[str, Any]]:
    if isinstance(value, dict) and value.keys() == {"series_instance_uid", "instances"}:
        uid, instances = value["series_instance_uid"], value["instances"]
        if isinstance(uid, str) and is_uid(uid) and isinstance(instances, dict) and instances:
            return uid, instances
    raise _damaged("one of its series is none")


def _known(version: int, sop_instance_uid: str, said: object) -> tuple[str, int | None, str]:
    """Digest of the header, size and digest of the whole file of an instance."""
    match said:
        case str() as header if version == HEADERS_ALONE and _is_digest(header):
            return header, None, ""
        case [str() as header, int() as size, str() as whole] if (
            version > HEADERS_ALONE
            and _is_digest(header)
            and (not whole or _is_digest(whole))
            and not isinstance(size, bool)
            and 0 <= size < 2**63
        ):
            return header, size, whole
    raise _damaged(f"instance {sop_instance_uid} has no digest, or no size")


def _is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None
