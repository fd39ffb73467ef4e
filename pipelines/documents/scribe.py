"""Writes down the text of a PDF or of CDA, in a child process that `pipelines.documents.scribes` starts.

The document lies in the shared memory, and so does its text afterwards. What pypdf or the parser say of
hostile bytes may repeat them: of an error its kind alone goes back.
"""

import mmap
from collections.abc import Iterator
from importlib import import_module
from io import BytesIO
from typing import Any

PAGE_LIMIT = 2_000
"""Pages of a PDF that are read."""
TEXT_LIMIT = 1_000_000
"""Characters of a text, as `catalog.words` has it, which takes longer to load."""

_LINES = frozenset({"br", "caption", "item", "list", "paragraph", "table", "tr"})
_CELLS = frozenset({"td", "th"})


class Scribe:
    """Answers the requests for texts."""

    def __init__(self) -> None:
        """Load the parsers before limits count."""
        for name in ("defusedxml.ElementTree", "pypdf"):
            import_module(name)

    def __call__(self, request: dict[str, Any], memory: mmap.mmap) -> dict[str, Any]:
        """Put the text of a document into its place; what is said of it comes back."""
        encoded = memory[: request["length"]]
        try:
            text, reason = (_pdf if request["kind"] == "PDF" else _cda)(encoded)
        except MemoryError:
            raise
        except Exception as error:  # hostile bytes surface anywhere in a parser
            return {"failed": type(error).__name__}
        data = text[:TEXT_LIMIT].encode("utf-8", "replace")
        memory[: len(data)] = data
        return {"length": len(data), "reason": reason}


def _pdf(encoded: bytes) -> tuple[str, str]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    reader = PdfReader(BytesIO(encoded))
    if reader.is_encrypted:
        try:
            is_open = reader.decrypt("") != 0
        except DependencyError:
            is_open = False
        if not is_open:
            return "", "is encrypted, and its password is not known"
    texts: list[str] = []
    size = bad = pages = 0
    for page in reader.pages:
        if pages >= PAGE_LIMIT or size > TEXT_LIMIT:
            return "\n".join(texts), f"only its first {pages:,} pages are read"
        pages += 1
        try:
            texts.append(page.extract_text())
        except MemoryError:
            raise
        except Exception:  # one page of many
            bad += 1
        else:
            size += len(texts[-1])
    return "\n".join(texts), f"{bad:,} of its {pages:,} pages cannot be read" if bad else ""


def _cda(encoded: bytes) -> tuple[str, str]:
    """Title, and headings and texts of the sections, which a person is meant to read (CDA R2 4.3.5)."""
    from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

    root = fromstring(encoded)
    parts: list[str] = []
    for element in root.iter():
        name = _name(element)
        if name == "title" or (name == "text" and len(parts) < TEXT_LIMIT):
            parts.append(" ".join("".join(_written(element)).split(" ")))
    has_body = any(_name(each) == "nonXMLBody" for each in root.iter())
    lines = [line.strip() for part in parts for line in part.splitlines()]
    if has_body and len(parts) <= 2:
        return "\n".join(line for line in lines[:1] if line), "its body is no text but another document"
    return "\n".join(line for line in lines if line), ""


def _written(element: Any) -> Iterator[str]:
    """The text in an element, without recursion; what begins a line in a browser begins one here."""
    waiting: list[Any] = [element]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
            continue
        name = _name(each)
        yield "\n" if name in _LINES else " " if name in _CELLS else ""
        inside: list[Any] = [each.text or ""]
        for child in each:
            inside += [child, child.tail or ""]
        waiting += reversed([*inside, "\n"] if name in _LINES else inside)


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
