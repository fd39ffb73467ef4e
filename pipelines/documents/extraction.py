"""Reads one document: its text, and what tells its revision; a fault of it is a value, in words.

No text and no value of a document is in a reason.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pydicom import Dataset

from catalog.errors import DecodeError, HeaderError, words_of
from catalog.headers import read_dataset
from catalog.identifiers import digest
from catalog.records import DocumentText
from catalog.revisions import moment_of
from catalog.words import TEXT_LIMIT, kept
from pipelines.documents.content_items import meaning, text_of
from pipelines.documents.scribes import SCRIBES, Scribes, Transcript

FILE_LIMIT = 64 << 20
"""Bytes of a report that is given as a file."""
_TITLE = 200
"""Characters of a title and other short texts that are kept."""
_MARKUP = (b"<?xml", b"<ClinicalDocument")
_PREDECESSORS = 1_000


def read_document(path: str | Path, *, scribes: Scribes = SCRIBES) -> DocumentText:
    """Read a DICOM object that is a document; whatever is wrong with it is in what comes back."""
    try:
        ds = read_dataset(path)
        found = _described(ds)
        transcript = _transcript(ds, scribes)
    except (HeaderError, DecodeError) as error:
        return DocumentText("failed", str(error))
    except MemoryError:
        raise
    except OSError as error:
        if error.errno is not None:  # of the disk or the network: the next time it may be there
            return DocumentText("due", f"cannot be read now: {words_of(error)}")
        return DocumentText("failed", "has a value that cannot be read")
    except Exception as error:  # hostile bytes surface wherever a value is first looked at
        return DocumentText("failed", f"has a value that cannot be read ({type(error).__name__})")
    return _with_text(found, transcript)


def read_report(path: str | Path, *, scribes: Scribes = SCRIBES) -> tuple[str, str, DocumentText]:
    """Read a report that is no DICOM: its kind (`PDF`, `CDA`, `text`), the digest of its bytes, what it says.

    Raises
    ------
    HeaderError
        If the file cannot be read, or is larger than a report may be.
    """
    try:
        with Path(path).open("rb") as file:
            encoded = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise HeaderError(f"{path}: cannot be read: {words_of(error)}") from error
    if len(encoded) > FILE_LIMIT:
        raise HeaderError(f"{path}: has more than {FILE_LIMIT >> 20} MiB, which no report has")
    kind = _kind(encoded)
    try:
        found = _with_text(DocumentText("read"), _transcribed(kind, encoded, scribes))
    except DecodeError as error:
        found = DocumentText("failed", str(error))
    return kind, digest(encoded), found


def _transcript(ds: Dataset, scribes: Scribes) -> Transcript:
    if "EncapsulatedDocument" not in ds:
        return Transcript(text_of(ds))
    encoded = bytes(ds.EncapsulatedDocument or b"")
    length = ds.get("EncapsulatedDocumentLength")
    if isinstance(length, int) and 0 < length < len(encoded):
        encoded = encoded[:length]
    return _transcribed(_kind(encoded), encoded, scribes)


def _kind(encoded: bytes) -> str:
    """What the bytes are, whatever the header says: the wrong SOP class is no reason not to read them."""
    if b"%PDF-" in encoded[:1024]:
        return "PDF"
    return "CDA" if encoded.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(_MARKUP) else "text"


def _transcribed(kind: str, encoded: bytes, scribes: Scribes) -> Transcript:
    if kind != "text":
        return scribes.transcript(kind, encoded)
    if b"\0" in encoded[:1024] and not encoded.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DecodeError("is neither PDF nor CDA nor text")
    return Transcript(_decoded(encoded))


def _decoded(encoded: bytes) -> str:
    """Text in UTF-8, in UTF-16 with its mark, else as Windows writes it in the West."""
    coding = "utf-16" if encoded.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return encoded.decode(coding)
    except UnicodeDecodeError:
        return encoded.decode("cp1252", "replace")


def _with_text(found: DocumentText, transcript: Transcript) -> DocumentText:
    text = kept(transcript.text).strip()
    reasons = [transcript.reason] if transcript.reason else []
    if len(text) == TEXT_LIMIT:
        reasons.append(f"only its first {TEXT_LIMIT:,} characters are kept")
    if not text:
        reasons = reasons or ["has no text, as pages that were scanned have none"]
    return replace(found, state="read" if text else "empty", reason="; ".join(reasons), text=text)


def _described(ds: Dataset) -> DocumentText:
    titles = (
        ds.get("DocumentTitle"), meaning(ds, "ConceptNameCodeSequence"), ds.get("SeriesDescription"),
    )  # fmt: skip
    flags = (ds.get("CompletionFlag"), ds.get("VerificationFlag"))
    number = ds.get("InstanceNumber")
    return DocumentText(
        "read",
        title=next((_short(each) for each in titles if each and _short(each)), ""),
        status=", ".join(_short(each).lower() for each in flags if each),
        moment=moment_of(_short(ds.get("ContentDate")), _short(ds.get("ContentTime"))),
        created=moment_of(_short(ds.get("InstanceCreationDate")), _short(ds.get("InstanceCreationTime"))),
        number=int(number) if isinstance(number, int) and abs(number) < 1 << 62 else None,
        identifier=_short(ds.get("HL7InstanceIdentifier")),
        predecessors=tuple(dict.fromkeys(_predecessors(ds)))[:_PREDECESSORS],
    )


def _predecessors(ds: Dataset) -> Iterator[str]:
    """SOP Instance UIDs of (0040,A360), an item a study (PS3.3 table C.17-3)."""
    for study in _all(ds.get("PredecessorDocumentsSequence")):
        for series in _all(study.get("ReferencedSeriesSequence")):
            for each in _all(series.get("ReferencedSOPSequence")):
                if uid := _short(each.get("ReferencedSOPInstanceUID")):
                    yield uid


def _all(sequence: Iterable[Dataset] | None) -> Iterable[Dataset]:
    return sequence or ()


def _short(value: object) -> str:
    return "" if value is None else " ".join(kept(str(value)).split())[:_TITLE]
