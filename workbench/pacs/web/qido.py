"""Searches a DICOMweb node (QIDO-RS, PS3.18 section 10.6), page by page until nothing new comes."""

from collections.abc import Callable, Generator, Sequence

from catalog.attributes import Attribute
from catalog.errors import RefusedError, TooManyAnswersError
from catalog.identifiers import is_uid
from workbench.pacs.matching import Keys
from workbench.pacs.web.client import Client
from workbench.pacs.web.rows import JSON, Row, rows_in, text

PAGE = 500
"""Rows that are asked for at a time."""
PAGE_BYTES = 32 * 1024 * 1024
"""The most that one page may have."""
ROWS_AT_MOST = 100_000
"""Rows of one search before the question counts as too wide; as for C-FIND."""
_FUZZY = "fuzzy"
"""In the warning of a node that has no fuzzy matching (PS3.18 section 8.3.4.2)."""
_NOT_ESCAPED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~*?,:/@!$'()")
"""Bytes that stand in a query as they are (RFC 3986 section 3.4); Orthanc knows no escaped wildcards."""


def search(
    client: Client,
    path: str,
    key: int,
    *,
    matching: Keys | None = None,
    returned: Sequence[int] = (),
    expected: int | None = None,
    fuzzy: bool = False,
    heard: Callable[[str], None] | None = None,
) -> Generator[Row]:
    """Yield the rows of a search, each once.

    Parameters
    ----------
    path
        `/studies`, `/studies/{uid}/series`, `/studies/{uid}/series/{uid}/instances`.
    key
        Tag of the UID that tells the rows apart; one without it, or with no UID in it, is passed over.
    matching
        Attributes to what they shall match; wildcards as they are.
    returned
        Tags that are wanted.
    expected
        How many rows the node said there are: no further page is asked for when a page that is not full has
        brought them. Whatever it said, a page that brings nothing new ends the search.
    fuzzy
        Whether names are to match by their sound, or whatever the node takes for it (PS3.18 section 8.3.4.2).
    heard
        Told of each warning of the node.

    Raises
    ------
    catalog.errors.DeliveryError
        If the node does not answer or refuses, its answer is no list of rows or has too many, or it gives the
        same page again although there are more, so that the rest cannot be had.
    """
    parts = _parts(matching or {})
    parts += [f"includefield={tag:08X}" for tag in returned]
    parts += ["fuzzymatching=true"] * fuzzy
    known: set[str] = set()
    given = 0
    while True:
        page, warning = _page(client, path, [*parts, f"limit={PAGE}", f"offset={given}"])
        if warning and heard is not None:
            heard(warning)
        more = bool(warning) and _FUZZY not in warning.lower()
        given, before = given + len(page), len(known)
        for row in page:
            uid = text(row, key)
            if uid is None or not is_uid(uid) or uid in known:
                continue
            known.add(uid)
            yield row
            if len(known) > ROWS_AT_MOST:
                raise TooManyAnswersError(f"More than {ROWS_AT_MOST:,} matches; ask a narrower question")
        if len(page) < PAGE and len(known) == expected and not more:
            return
        if len(known) == before:
            break
    if page and (more or len(page) == PAGE or len(known) < (expected or 0)):
        raise TooManyAnswersError(
            f"{client.node.name} gives the same {len(page):,} rows again instead of its next page: more than "
            f"{len(known):,} cannot be had; ask a narrower question"
        )


def _page(client: Client, path: str, parts: Sequence[str]) -> tuple[list[Row], str]:
    """Rows of a page, and what the node warns of: that there are more, for one (PS3.18 section 8.3.4.4)."""
    with client.get(f"{path}?{'&'.join(parts)}", JSON) as answer:
        content = answer.read(PAGE_BYTES)
        if answer.announced == 0:  # as with status 204; a body that is only missing is no answer
            return [], ""
        try:
            return rows_in(content), answer.warning
        except ValueError:
            raise RefusedError(
                f"{client.node.name} answers QIDO-RS with something else than rows in JSON; check the url"
            ) from None


def _parts(keys: Keys, inside: str = "") -> list[str]:
    """Keys of a query; those of a sequence's item have its tag and a dot before theirs."""
    parts: list[str] = []
    for each, key in keys.items():
        name = f"{inside}{each.tag:08X}"
        if isinstance(key, str):
            parts += [f"{name}={_escaped(_value(each, key))}"] * bool(key)
        else:
            parts += _parts(key, f"{name}.")
    return parts


def _value(attribute: Attribute, value: str) -> str:
    """UIDs of a list have commas between them here (PS3.18 section 8.3.4.1)."""
    return value.replace("\\", ",") if attribute.vr == "UI" else value


def _escaped(value: str) -> str:
    return "".join(chr(each) if each in _NOT_ESCAPED else f"%{each:02X}" for each in value.encode())
