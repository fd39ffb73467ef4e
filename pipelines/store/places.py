"""Where the groups of arrays lie: a folder of this machine, or a prefix in an S3 bucket.

A place is a folder by its address: `/bench/arrays`, or `s3://bucket/arrays?endpoint=…&region=…`, which any
other process can open again. Credentials are no part of it: they are those of the environment (`AWS_…`), and
stay out of every text.
"""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from catalog import durable, locks
from catalog.errors import SettingsError

if TYPE_CHECKING:
    from obstore.store import S3Store

S3 = "s3://"
PARTIAL = ".partial-"
"""How the name of what is being written in a folder begins."""
CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
"""Variables of the environment, one of which says who asks."""


class Place(Protocol):
    """A folder of arrays, or what is in it; names of files are relative to it, with `/` between."""

    @property
    def address(self) -> str:
        """Opens it again in any process."""

    @property
    def name(self) -> str:
        """The last part of the address."""

    @property
    def parent(self) -> "Place":
        """The place that it is in."""

    def __truediv__(self, name: str, /) -> "Place":
        """Return a place in it."""

    def read(self, name: str, limit: int) -> bytes:
        """Read a file, or as much of it as the limit allows; raises `OSError` where it cannot be read."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole and durably, in the place of one of that name; raises `OSError`."""

    def sizes(self, names: Sequence[str]) -> tuple[int, ...]:
        """Bytes of files, 0 where there is none."""

    def settle(self, name: str) -> None:
        """Wait until a file that others wrote is durable; there need not be one."""

    def in_words(self, name: str) -> AbstractContextManager[None]:
        """Make `OSError` of whatever the store raises within, without its credentials."""

    def alone(self) -> AbstractContextManager[None]:
        """Wait until no other process writes in it; what was left half done is gone then."""

    def staged(self, name: str) -> "AbstractContextManager[Staged]":
        """Give a new place to write in that nobody sees; gone at the end unless it was published."""

    def candidates(self, name: str) -> "Sequence[Place]":
        """Places in it that were published under this name, the latest first; they may not be whole."""

    def holdings(self) -> "list[Holding]":
        """Everything that was put into it, one entry a place in it."""

    def remove(self) -> int:
        """Remove all that is in it and return the bytes."""


class Staged(Protocol):
    """A place that nobody sees yet."""

    @property
    def place(self) -> Place:
        """To write in."""

    @property
    def final(self) -> Place:
        """Where it will be found."""

    def publish(self) -> None:
        """Give it its final place, all of it durable."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What lies in a place."""

    place: Place
    bytes: int
    changed: datetime
    """The latest time at which one of its files was."""


type Where = Place | Path | str
"""A place, a folder, or the address of either."""


def at(where: Where) -> Place:
    """Return the place of an address, or of a folder.

    Raises
    ------
    catalog.errors.SettingsError
        If it is an address of S3 that cannot be.
    """
    if isinstance(where, Path):
        return LocalPlace(where)
    if not isinstance(where, str):
        return where
    return S3Place.parse(where) if where.startswith(S3) else LocalPlace(Path(where))


# --- a folder --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A folder of this machine."""

    path: Path

    @property
    def address(self) -> str:
        """Its absolute path."""
        return str(self.path.absolute())

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.path.name

    @property
    def parent(self) -> "LocalPlace":
        """The folder above."""
        return LocalPlace(self.path.parent)

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> "LocalPlace":
        return LocalPlace(self.path / name)

    def read(self, name: str, limit: int) -> bytes:
        """Read a file, or as much of it as the limit allows."""
        with (self.path / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return file.read(min(size + 1, limit))  # takes as much memory as it is asked for

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole and durably."""
        durable.write(self.path / name, content)

    def sizes(self, names: Sequence[str]) -> tuple[int, ...]:
        """Bytes of files, 0 where there is none."""
        return tuple(_size(self.path / name) for name in names)

    def settle(self, name: str) -> None:
        """Wait until a file is on the disk, if there is one."""
        if (self.path / name).exists():
            durable.sync(self.path / name)

    def in_words(self, name: str) -> AbstractContextManager[None]:
        """Nothing to do: what the disk says is an `OSError`."""
        return nullcontext()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process writes in it; what was left half done is gone then."""
        with locks.alone(self.path):
            for leftover in self.path.glob(f"{PARTIAL}*"):
                shutil.rmtree(leftover)
            yield

    @contextmanager
    def staged(self, name: str) -> "Iterator[_StagedFolder]":
        """Give a folder beside the final one."""
        partial = self / f"{PARTIAL}{name}"
        shutil.rmtree(partial.path, ignore_errors=True)
        try:
            yield _StagedFolder(partial, self / name)
        finally:
            shutil.rmtree(partial.path, ignore_errors=True)

    def candidates(self, name: str) -> "list[LocalPlace]":
        """The folder of that name."""
        return [self / name]

    def holdings(self) -> list[Holding]:
        """Every folder and file in it, except locks."""
        try:
            found = sorted(self.path.iterdir())
        except FileNotFoundError:
            return []
        return [Holding(LocalPlace(each), *extent(each)) for each in found if each.name != locks.LOCK]

    def remove(self) -> int:
        """Remove the folder, or file, and return its bytes."""
        size, _ = extent(self.path)
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)
        return size


@dataclass(frozen=True, slots=True)
class _StagedFolder:
    place: LocalPlace
    final: LocalPlace

    def publish(self) -> None:
        durable.publish(self.place.path, self.final.path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def extent(path: Path) -> tuple[int, datetime]:
    """Bytes below a path, and when the latest of them was written; what vanishes meanwhile counts nothing."""
    size, latest = 0, 0.0
    below = (Path(parent, name) for parent, _, names in os.walk(path) for name in names)
    for file in chain(below, (path,)):
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            size, latest = size + status.st_size, max(latest, status.st_mtime)
    return size, datetime.fromtimestamp(latest, UTC)


# --- a bucket --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server, without the credentials."""

    name: str
    endpoint: str | None = None
    """`https://…` of a server that is not Amazon's."""
    region: str | None = None

    def __post_init__(self) -> None:
        scheme, _, host = (self.endpoint or "https://host").partition("://")
        if scheme not in ("http", "https") or not host:
            raise SettingsError("the endpoint of S3 must begin with https:// (or http://)")
        if set("@?&#") & set(host):
            raise SettingsError(
                "the endpoint of S3 is a host and a port; credentials belong into the environment (AWS_…)"
            )
        if not self.name or set("/?&#@ ") & set(self.name + (self.region or "")):
            raise SettingsError("arrays in S3 are set as s3://bucket/prefix")

    @cached_property
    def store(self) -> "S3Store":
        """A connection to all of it; raises as `opened` does."""
        return self.opened()

    def opened(self, prefix: str = "") -> "S3Store":
        """Return a connection that sees what is below a prefix.

        Raises
        ------
        catalog.errors.SettingsError
            If obstore is not installed, or the environment has no credentials.
        """
        try:
            from obstore.store import S3Store
        except ModuleNotFoundError:
            raise SettingsError("arrays in S3 need obstore: pip install 'imaging-workbench[s3]'") from None
        if not any(os.environ.get(name) for name in CREDENTIALS):
            raise SettingsError(
                "arrays in S3 need credentials in the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
            )
        options: dict[str, Any] = {}
        if self.endpoint is not None:
            options["endpoint"] = self.endpoint
        if self.region is not None:
            options["region"] = self.region
        return S3Store(
            self.name,
            prefix=prefix or None,
            client_options={
                "allow_http": (self.endpoint or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=5),
                "timeout": timedelta(seconds=120),
            },
            retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=30)},
            **options,
        )

    @property
    def query(self) -> str:
        """What an address says of the server."""
        said = (("endpoint", self.endpoint), ("region", self.region))
        return "&".join(f"{name}={value}" for name, value in said if value is not None)


@dataclass(frozen=True, slots=True)
class S3Place:
    """A prefix in a bucket. An object appears whole; a place that was published is never written again."""

    bucket: Bucket
    prefix: str
    """Without a `/` at either end."""

    @classmethod
    def parse(cls, address: str) -> Self:
        """Return the place of `s3://bucket/prefix[?endpoint=…][&region=…]`."""
        path, _, query = address.removeprefix(S3).partition("?")
        name, _, prefix = path.partition("/")
        given = dict(each.partition("=")[::2] for each in query.split("&") if each)
        if not given.keys() <= {"endpoint", "region"}:
            raise SettingsError("an address in S3 is s3://bucket/prefix?endpoint=…&region=…")
        return cls(Bucket(name, given.get("endpoint"), given.get("region")), prefix.strip("/"))

    @property
    def address(self) -> str:
        """With endpoint and region, without credentials."""
        query = self.bucket.query
        return str(self) + (f"?{query}" if query else "")

    @property
    def name(self) -> str:
        """The last part of the prefix."""
        return self.prefix.rpartition("/")[2]

    @property
    def parent(self) -> "S3Place":
        """The prefix above."""
        return replace(self, prefix=self.prefix.rpartition("/")[0])

    def __str__(self) -> str:
        return f"{S3}{self.bucket.name}/{self.prefix}".rstrip("/")

    def __truediv__(self, name: str) -> "S3Place":
        return replace(self, prefix=self.key(name))

    def key(self, name: str) -> str:
        """Key of an object in it."""
        return f"{self.prefix}/{name}".strip("/")

    def read(self, name: str, limit: int) -> bytes:
        """Read an object, or as much of it as the limit allows."""
        import obstore

        with self.in_words(name):
            content = bytearray()
            for piece in obstore.get(self.bucket.store, self.key(name)):
                content += bytes(piece)
                if len(content) >= limit:
                    break
            return bytes(content[:limit])

    def write(self, name: str, content: bytes) -> None:
        """Write an object and read it back."""
        import obstore

        with self.in_words(name):
            obstore.put(self.bucket.store, self.key(name), content)
        if self.read(name, len(content) + 1) != content:
            raise OSError(f"{self}/{name} reads back otherwise than it was written; ingest again")

    def sizes(self, names: Sequence[str]) -> tuple[int, ...]:
        """Bytes of objects, 0 where there is none; one listing for all."""
        there = {key: size for key, size, _ in self._objects()}
        return tuple(there.get(self.key(name), 0) for name in names)

    def settle(self, name: str) -> None:
        """Nothing to do: an object that was acknowledged is durable."""

    @contextmanager
    def in_words(self, name: str) -> Iterator[None]:
        """Make `OSError` of what obstore raises: its texts hold what the server says, keys included."""
        from obstore.exceptions import BaseError

        where = f"{self}/{name}".rstrip("/")
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such object or bucket", where) from None
        except BaseError as error:
            is_refused = type(error).__name__ in _REFUSALS or " 403 " in str(error)
            kind, number, words = _REFUSED if is_refused else _NO_ANSWER
            raise kind(number, words, where) from None

    def alone(self) -> AbstractContextManager[None]:
        """Nothing to wait for: every writer has a place of its own, and the row tells which one counts."""
        return nullcontext()

    @contextmanager
    def staged(self, name: str) -> "Iterator[_StagedPrefix]":
        """Give a prefix that was never used; no row names it yet."""
        staged = _StagedPrefix(self / f"{name}-{secrets.token_hex(4)}")
        try:
            yield staged
        finally:
            if not staged.is_published:
                staged.place.remove()

    def candidates(self, name: str) -> "list[S3Place]":
        """All that were written under this name, the latest first."""
        held = [each for each in self.holdings() if each.place.name.startswith(f"{name}-")]
        return [self / each.place.name for each in sorted(held, key=lambda each: each.changed, reverse=True)]

    def holdings(self) -> list[Holding]:
        """Every prefix in it."""
        found: dict[str, Holding] = {}
        start = len(self.key("x")) - 1
        for key, size, changed in self._objects():
            name = key[start:].partition("/")[0]
            held = found.get(name, Holding(self / name, 0, changed))
            found[name] = Holding(held.place, held.bytes + size, max(held.changed, changed))
        return [found[name] for name in sorted(found)]

    def remove(self) -> int:
        """Remove every object in it and return their bytes; the description first, so none is half there."""
        import obstore

        objects = sorted(self._objects(), key=lambda each: (not each[0].endswith("zarr.json"), each[0]))
        with self.in_words(""):
            if objects:
                obstore.delete(self.bucket.store, [key for key, _, _ in objects])
        return sum(size for _, size, _ in objects)

    def _objects(self) -> list[tuple[str, int, datetime]]:
        """Key, bytes and time of every object in it."""
        import obstore

        with self.in_words(""):
            listed = obstore.list(self.bucket.store, prefix=self.prefix or None)
            return [(each["path"], each["size"], each["last_modified"]) for batch in listed for each in batch]


@dataclass(slots=True)
class _StagedPrefix:
    place: S3Place
    is_published: bool = False

    @property
    def final(self) -> S3Place:
        return self.place

    def publish(self) -> None:
        self.is_published = True


_REFUSED = (
    PermissionError,
    errno.EACCES,
    "the S3 server refuses; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, and the "
    "rights of this user",
)
_NO_ANSWER = (ConnectionError, errno.EIO, "the S3 server does not answer as it should; try again later")
_REFUSALS = frozenset({"PermissionDeniedError", "UnauthenticatedError"})
"""What obstore raises of a refusal, except of a listing's."""
