"""Notices as files, one a thing that happened: whatever watches a folder can take them, and remove them.

A notice has the same name whenever it is written: after a crash it is there once. UIDs and names of nodes are
in it, nothing else of a patient.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from catalog.durable import write
from catalog.identifiers import digest


def write_notice(folder: Path, kind: str, number: int, rule: str, details: Mapping[str, str | int]) -> Path:
    """Write a notice and return its path; it is durable, and whole, when it has its name.

    Parameters
    ----------
    kind, number
        What happened, and its number, which only grows.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    path = folder / f"{kind}-{number:012d}-{digest(rule.encode())[:8]}.json"
    told = {"event": kind, "number": number, "rule": rule, **details}
    write(path, (json.dumps(told, ensure_ascii=False) + "\n").encode())
    return path
