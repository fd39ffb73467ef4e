"""Reads objects of S3 buckets and files of web servers by ranges; credentials are those of `AWS_…` variables.

Nobody is asked but the host that an address names: HTTP redirects are not followed and no credentials sent.
"""

import errno
import hashlib
import http.client
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from catalog.errors import HeaderError, NotFoundError, SettingsError
from catalog.scan import Found
from catalog.zips import ReadAt

if TYPE_CHECKING:
    from obstore.store import S3Store

S3 = "s3://"
SCHEMES = (S3, "http://", "https://")
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
"""How the name of an object ends that is read as an archive."""
SECONDS = 30.0
"""How long a server may be silent."""

_SMALL, _LARGE = 64 << 10, 4 << 20
"""Bytes of one request: the first, and the largest where one follows the other."""
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SKIP_SIGNATURE",
)  # fmt: skip
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Object:
    """One object, as its server told it."""

    address: str
    read: ReadAt
    size: int
    stamp: int
    """What is another where the object is another: of its ETag, else of its time."""


def is_remote(path: str) -> bool:
    """Whether an address is one of a server."""
    return path.startswith(SCHEMES)


def is_archive_name(name: str) -> bool:
    """Whether an object is read as an archive."""
    return name.lower().endswith(ARCHIVES)


def listed(address: str) -> Iterator[Found]:
    """Go through the objects below a prefix of a bucket, or give the one object or file of an address.

    Raises
    ------
    NotFoundError
        If there is none.
    SettingsError
        If the address cannot be.
    OSError
        If the server refuses or does not answer.
    """
    if not address.startswith(S3):
        yield _found(address, *_look_http(address))
        return
    import obstore

    bucket, prefix = _parsed(address)
    store, count = _store(bucket), 0
    try:
        batches = iter(obstore.list(store, prefix=prefix or None, chunk_size=1000))
        while True:
            with _in_words(address):
                batch = next(batches, None)
            if batch is None:
                break
            for each in batch:
                count += 1
                stamp = _stamp(each["e_tag"], each["last_modified"].isoformat())
                yield _found(f"{S3}{bucket}/{each['path']}", each["size"], stamp)
        if not count:
            with opened(address) as single:
                yield _found(address, single.size, single.stamp)
    except FileNotFoundError:
        raise NotFoundError(f"{address} has no objects; nothing was indexed") from None


@contextmanager
def opened(address: str) -> Iterator[Object]:
    """Open one object.

    Raises
    ------
    OSError
        If it is gone, or the server refuses or does not answer.
    """
    if address.startswith(S3):
        import obstore

        bucket, key = _parsed(address)
        store = _store(bucket)
        with _in_words(address):
            told = obstore.head(store, key)

        def read(position: int, count: int) -> bytes:
            with _in_words(address):
                return bytes(obstore.get_range(store, key, start=position, length=count))

        stamp = _stamp(told["e_tag"], told["last_modified"].isoformat())
        yield Object(address, ahead(read, told["size"]), told["size"], stamp)
    else:
        connection, path = _connection(address)
        try:
            size, stamp = _ask(connection, path, address, 0, 1)[1:]
            yield Object(
                address,
                ahead(lambda at, count: _ask(connection, path, address, at, count)[0], size),
                size,
                stamp,
            )
        finally:
            connection.close()


def ahead(read: ReadAt, size: int) -> ReadAt:
    """Read in few requests: more at once the longer one follows the other, little after a jump."""
    start, held, length = 0, b"", _SMALL

    def reading(position: int, count: int) -> bytes:
        nonlocal start, held, length
        count = max(0, min(count, size - position))
        content = b""
        while len(content) < count:
            at = position + len(content)
            if not start <= at < start + len(held):
                length = min(2 * length, _LARGE) if held and at == start + len(held) else _SMALL
                wanted = min(max(length, count - len(content)), size - at, _LARGE)
                start, held = at, read(at, wanted)
                if not held:
                    break
            offset = at - start
            content += held[offset : offset + count - len(content)]
        return content

    return reading


def _found(address: str, size: int, stamp: int) -> Found:
    folder, _, name = address.rpartition("/")
    return Found(folder, name, size, stamp)


def _stamp(etag: str | None, otherwise: str) -> int:
    """A number of 63 bits, as a column for times takes it."""
    return int.from_bytes(hashlib.sha256((etag or otherwise).encode()).digest()[:8], "big") >> 1


# --- S3 --------------------------------------------------------------------------------------------------


def _parsed(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix(S3).partition("/")
    if not _BUCKET.fullmatch(bucket) or "?" in address:
        raise SettingsError(
            f"{S3}bucket/prefix is the address of an archive in S3; a server other than Amazon's is set as "
            "AWS_ENDPOINT_URL in the environment, its region as AWS_REGION"
        )
    return bucket, key.strip("/")


@lru_cache(maxsize=8)
def _opened_store(bucket: str, endpoint: str, *, anonymous: bool) -> "S3Store":
    from obstore.store import S3Store

    return S3Store(
        bucket,
        skip_signature=anonymous,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=5),
            "timeout": timedelta(seconds=120),
        },
        retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=30)},
    )


def _store(bucket: str) -> "S3Store":
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT", "")
    try:
        return _opened_store(bucket, endpoint, anonymous=_is_anonymous())
    except ModuleNotFoundError:
        raise SettingsError("an archive in S3 needs obstore: pip install 'imaging-workbench[s3]'") from None


def _is_anonymous() -> bool:
    """Whether buckets are asked without a signature, as public ones answer: nobody gave credentials."""
    return not any(os.environ.get(name) for name in _CREDENTIALS)


@contextmanager
def _in_words(address: str) -> Iterator[None]:
    """Make `OSError` of what obstore raises, whose texts hold what the server says."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such object or bucket", address) from None
    except BaseError as error:
        if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError") or " 403 " in str(error):
            words = "the S3 server refuses; check the AWS_… variables and the rights of this user"
            if _is_anonymous():
                words = (
                    "the S3 server refuses whoever does not say who asks; give AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY in the environment, as for every bucket that is not public"
                )
            raise PermissionError(errno.EACCES, words, address) from None
        words = "the S3 server does not answer as it should; try again later"
        raise ConnectionError(errno.EIO, words, address) from None


# --- HTTP ------------------------------------------------------------------------------------------------


def _connection(address: str) -> tuple[http.client.HTTPConnection, str]:
    scheme, _, rest = address.partition("://")
    host, _, path = rest.partition("/")
    if not host or "@" in host or set("?#") & set(rest) or not path or path.endswith("/"):
        raise SettingsError(
            f"{scheme}://host/path/file is the address of one file or archive of a web server, without "
            "credentials, query and fragment; folders of web servers are not listed"
        )
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    try:
        return kind(host, timeout=SECONDS), f"/{path}"
    except http.client.InvalidURL:
        raise SettingsError("the address of a web server is https://host:port/path/file") from None


def _look_http(address: str) -> tuple[int, int]:
    connection, path = _connection(address)
    try:
        return _ask(connection, path, address, 0, 1)[1:]
    except FileNotFoundError:
        raise NotFoundError(f"{address} does not exist; nothing was indexed") from None
    except HeaderError as error:
        raise NotFoundError(f"{address} {error}") from None
    finally:
        connection.close()


def _ask(
    connection: http.client.HTTPConnection, path: str, address: str, position: int, count: int
) -> tuple[bytes, int, int]:
    """Bytes of a range, and size and stamp of the whole file."""
    headers = {"Range": f"bytes={position}-{position + count - 1}", "Accept-Encoding": "identity"}
    try:
        _send(connection, path, headers, address)
        answer = connection.getresponse()
        _refuse(answer, address)
        span = _RANGE.fullmatch(answer.getheader("Content-Range", ""))
        if span is None or int(span[1]) != position or int(span[2]) - position >= count:
            connection.close()
            raise HeaderError("lies on a web server that does not give ranges of it; download it first")
        content = answer.read(count)
        answer.close()
    except (http.client.HTTPException, ValueError) as error:
        if isinstance(error, HeaderError):
            raise
        connection.close()
        raise ConnectionError(errno.EIO, "the web server does not answer as it should", address) from None
    return content, int(span[3]), _stamp(answer.getheader("ETag"), _time_of(answer))


def _send(connection: http.client.HTTPConnection, path: str, headers: dict[str, str], address: str) -> None:
    try:
        connection.request("GET", path, headers=headers)
    except OSError:
        connection.close()
        raise ConnectionError(errno.EIO, "the web server cannot be reached", address) from None


def _time_of(answer: http.client.HTTPResponse) -> str:
    try:
        return parsedate_to_datetime(answer.getheader("Last-Modified", "")).isoformat()
    except ValueError:
        return ""


def _refuse(answer: http.client.HTTPResponse, address: str) -> None:
    """Raise for what is no part of the file."""
    if answer.status == 206:
        return
    status = answer.status
    answer.close()
    if status in (404, 410):
        raise FileNotFoundError(errno.ENOENT, "no such file on the web server", address)
    if status in (401, 403):
        raise PermissionError(errno.EACCES, "the web server refuses", address)
    if 300 <= status < 400:
        raise HeaderError("is answered with another address, which is not followed; give that one")
    if status == 200:
        raise HeaderError("lies on a web server that does not give ranges of it; download it first")
    raise ConnectionError(errno.EIO, f"the web server answers with status {status}", address)
