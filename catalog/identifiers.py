"""UIDs and digests: what may be trusted as a name, and what a thing is called on disk."""

import hashlib
import re
import uuid
from collections.abc import Iterable

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
UID_LENGTH = 64
"""The longest a UID may be (PS3.5 section 9.1)."""


def is_uid(text: str) -> bool:
    """Whether a text has the form of a UID: digits and dots, at most 64 characters (PS3.5 section 9.1).

    Leading zeros in a component are forbidden by the standard but common in archives; they are accepted.
    """
    return len(text) <= UID_LENGTH and _UID.fullmatch(text) is not None


def new_uid() -> str:
    """Return a fresh UUID-derived UID (PS3.5 section B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def digest(*parts: bytes | bytearray | memoryview) -> str:
    """SHA-256 of the concatenated parts, as 64 hexadecimal digits."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()


def digest_of_texts(texts: Iterable[str]) -> str:
    """SHA-256 over a sequence of texts; unlike their concatenation, ("ab", "c") and ("a", "bc") differ."""
    sha = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        sha.update(len(encoded).to_bytes(8, "little"))
        sha.update(encoded)
    return sha.hexdigest()


def folder_name(text: str) -> str:
    """Return a safe name of fixed length: a text from a file or the wire never becomes a path itself."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def short_uid(uid: str) -> str:
    """Both ends of a UID for a screen: `1.2.826…71`."""
    return uid if len(uid) <= 14 else f"{uid[:7]}…{uid[-4:]}"
