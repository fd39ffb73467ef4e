"""What kernels and the Jupyter server of one user hand each other: a file each, in Jupyter's runtime folder.

A kernel puts the record of an array there and gives the viewer its key; whoever asks the server with that key
and is logged in gets planes. No path ever comes from the browser. The other way come pictures that a kernel
waits for, while it can take no message.
"""

import json
import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

from catalog.errors import NotFoundError
from catalog.identifiers import digest_of_texts
from catalog.records import ArrayRecord, as_dict

_KEY = re.compile(r"[0-9a-f]{32}")
_KEPT_SECONDS = 14 * 24 * 3600
"""How long a record stays after a notebook showed it last."""

_LOOK_SECONDS = 0.02


def _folder() -> Path:
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir()) / "workbench"


def put(record: ArrayRecord) -> str:
    """Put a record where the server of the same user finds it; return its key, 32 hexadecimal digits."""
    text = json.dumps(as_dict(record))
    key = digest_of_texts([text])[:32]
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _clear(folder)
    partial = folder / f"{key}.{os.getpid()}.partial"
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(folder / f"{key}.json")
    return key


def take(key: str) -> ArrayRecord:
    """Return the record of a key.

    Raises
    ------
    catalog.errors.NotFoundError
        If no notebook showed it of late, or what lies there is another user's.
    """
    path = _folder() / f"{key}.json"
    try:
        if not _KEY.fullmatch(key) or path.lstat().st_uid != os.getuid():
            raise FileNotFoundError
        return _record(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        raise NotFoundError("no notebook shows such an array; run its cell again") from None


def expect() -> str:
    """Expect a picture from a browser; return the key under which it is to be handed in."""
    key = secrets.token_hex(16)
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / f"{key}.wanted").touch(0o600)
    return key


def hand_in(key: str, picture: bytes) -> None:
    """Hand in a picture that a kernel waits for.

    Raises
    ------
    catalog.errors.NotFoundError
        If none waits for it.
    """
    wanted = _folder() / f"{key}.wanted"
    try:
        if not _KEY.fullmatch(key) or wanted.lstat().st_uid != os.getuid():
            raise FileNotFoundError
        wanted.write_bytes(picture)
        wanted.replace(wanted.with_suffix(".png"))
    except OSError:
        raise NotFoundError("no kernel waits for such a picture") from None


def await_picture(key: str, seconds: float) -> bytes | None:
    """Wait for a picture that was expected; `None` where it does not come."""
    came, until = _folder() / f"{key}.png", time.monotonic() + seconds
    try:
        while not came.exists():
            if time.monotonic() >= until:
                return None
            time.sleep(_LOOK_SECONDS)
        return came.read_bytes()
    finally:
        for suffix in (".png", ".wanted"):
            came.with_suffix(suffix).unlink(missing_ok=True)


def _record(values: dict[str, object]) -> ArrayRecord:
    from catalog.arrays import array_record

    return array_record(values)


def _clear(folder: Path) -> None:
    before = time.time() - _KEPT_SECONDS
    for each in folder.iterdir():
        with suppress(OSError):  # another process was faster
            if each.stat().st_mtime < before:
                each.unlink()
