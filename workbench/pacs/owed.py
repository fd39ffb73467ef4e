"""Answers to requests for storage commitment that a receiver owes: files, there before it says yes."""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Self

from catalog import locks
from catalog.durable import sync, write
from catalog.identifiers import folder_name

_LOG = logging.getLogger(__name__)

OWED_AT_MOST = 100
"""Answers that one node may wait for."""


@dataclass(frozen=True, slots=True)
class Owed:
    """One answer that is owed."""

    node: str
    """Name of the node in the settings that asked."""
    transaction_uid: str
    references: tuple[tuple[str, str], ...]
    """SOP Class UID and SOP Instance UID of each."""
    asked: datetime
    """With a time zone."""
    is_duplicate: bool = False
    """Whether its transaction UID was that of another request that still waits: nothing is promised then."""

    @property
    def name(self) -> str:
        """Of its file: digests of names that others chose."""
        beside = f"-{folder_name(repr(self.references))}" if self.is_duplicate else ""
        return f"{folder_name(self.node)}/{folder_name(self.transaction_uid)}{beside}.json"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            told = json.loads(text)
            references = tuple((str(sop_class), str(uid)) for sop_class, uid in told.pop("references"))
            owed = cls(**told | {"references": references, "asked": datetime.fromisoformat(told["asked"])})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise ValueError("it is no answer that is owed") from None
        names = (owed.node, owed.transaction_uid)
        if not all(isinstance(each, str) for each in names) or owed.asked.tzinfo is None:
            raise ValueError("it is no answer that is owed")
        return owed

    def to_json(self) -> str:
        """Write it as text."""
        return json.dumps(asdict(self) | {"asked": self.asked.isoformat()})


class OwedAnswers:
    """Everything that is owed, for any number of threads and processes.

    Parameters
    ----------
    folder
        Made when something is owed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, owed: Owed) -> Owed | None:
        """Make it durable, and return it as it is kept; `None` where there is no room for it.

        The same request again is owed once. Another one under a transaction UID that is still in use is kept
        beside the first, as a duplicate.

        Raises
        ------
        OSError
            If it could not be kept.
        """
        folder = (self.folder / owed.name).parent
        with locks.alone(folder):
            known = self.read(owed.name)
            if known is not None and known.references != owed.references:
                owed = replace(owed, is_duplicate=True)
            path = self.folder / owed.name
            if not path.exists() and sum(1 for _ in folder.glob("*.json")) >= OWED_AT_MOST:
                return None
            write(path, owed.to_json().encode())
        return owed

    def names(self) -> Iterator[str]:
        """Names of what is owed."""
        for path in sorted(self.folder.glob("*/*.json")):
            yield f"{path.parent.name}/{path.name}"

    def read(self, name: str) -> Owed | None:
        """Return what is owed under a name; `None` where it no longer is.

        What cannot be read is set aside as `….json.unreadable`, so that the others are answered.
        """
        path = self.folder / name
        try:
            return Owed.from_json(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            with suppress(FileNotFoundError):  # another process was faster
                path.replace(path.with_name(f"{path.name}.unreadable"))
            _LOG.warning("an answer that is owed cannot be read, and is set aside: %s.unreadable", name)
            return None

    def remove(self, name: str) -> None:
        """It was answered, or nobody waits for it any more."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        sync(path.parent)
