"""Archives in S3 buckets and on web servers: headers by ranges, known again by ETag and size."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from catalog.database import Catalog
from catalog.errors import NotFoundError, SettingsError
from catalog.fetch import Fetched
from catalog.index import index_paths
from catalog.objects import ahead
from catalog.query import find_instances, find_series
from pipelines import phantoms
from tests.catalog.test_archives import counts, tarred, zipped
from tests.conftest import S3Server

NOTHING_BELOW = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
"""What a bucket says of a name that is no prefix."""


@dataclass
class Web:
    """A web server on loopback: its files, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    ranges: bool = True
    redirect: str = ""
    refuses: bool = False
    address: str = ""


@pytest.fixture
def web() -> Iterator[Web]:
    yield from serving(Web())


@pytest.fixture
def other_web() -> Iterator[Web]:
    yield from serving(Web())


def serving(web: Web) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            web.asked.append((self.path, dict(self.headers)))
            content = NOTHING_BELOW if "list-type=2" in self.path else web.files.get(self.path)
            if web.refuses:
                self.answer(403, b"")
            elif web.redirect:
                self.answer(302, b"", Location=web.redirect + self.path)
            elif content is None:
                self.answer(404, b"")
            elif not web.ranges or "Range" not in self.headers:
                self.answer(200, content)
            else:
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                part = content[int(first) : int(last) + 1]
                span = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
                self.answer(206, part, Content_Range=span, ETag=f'"{hashlib.md5(content).hexdigest()}"')

        def do_HEAD(self) -> None:
            web.asked.append((self.path, dict(self.headers)))
            self.send_response(403 if web.refuses else 200 if self.path in web.files else 404)
            self.send_header("Content-Length", str(len(web.files.get(self.path, b""))))
            self.send_header("Last-Modified", "Mon, 30 Nov 2026 08:00:00 GMT")
            self.end_headers()

        def answer(self, status: int, content: bytes, **headers: str) -> None:
            web.sent += len(content)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Last-Modified", "Mon, 30 Nov 2026 08:00:00 GMT")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def large(tmp_path: Path) -> list[Path]:
    """Files whose pixel data are much longer than their headers."""
    return list(phantoms.write_series(tmp_path / "files", planes=4, rows=512, columns=512).paths)


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return S3Store("bench", client_options={"allow_http": True})


def copied(catalog: Catalog, folder: Path) -> list[bytes]:
    """What is fetched of every instance."""
    with Fetched(catalog, folder, 0).local(find_instances(catalog)) as local:
        assert local.failures == {}
        return [Path(each.path).read_bytes() for each in local.instances]


def test_a_prefix_of_a_bucket_is_indexed_and_known_again(
    catalog: Catalog, tmp_path: Path, large: list[Path], bucket: S3Store
) -> None:
    for path in large:
        obstore.put(bucket, f"a/study/{path.name}", path.read_bytes())
    obstore.put(bucket, "a/note.txt", b"no DICOM")
    obstore.put(bucket, "a-sibling/0000.dcm", large[0].read_bytes())

    assert counts(index_paths(catalog, ["s3://bench/a"])) == (4, 0, 0, 1)
    assert {each.path for each in find_instances(catalog)} == {
        f"s3://bench/a/study/{each.name}" for each in large
    }
    assert counts(index_paths(catalog, ["s3://bench/a/"])) == (0, 0, 4, 1)
    assert copied(catalog, tmp_path / "fetched") == [each.read_bytes() for each in large]

    obstore.put(bucket, "a/study/0001.dcm", large[1].read_bytes() + bytes(2))
    obstore.delete(bucket, "a/study/0003.dcm")
    report = index_paths(catalog, ["s3://bench/a"])
    assert counts(report) == (0, 1, 2, 1)
    assert report.vanished == ("s3://bench/a/study/0003.dcm",)
    assert [each.instances for each in find_series(catalog)] == [3]


@pytest.mark.parametrize("name", ["disk.zip", "disk.tar", "disk.tar.gz"])
def test_an_archive_in_a_bucket_is_read_where_it_lies(
    catalog: Catalog, tmp_path: Path, large: list[Path], bucket: S3Store, name: str
) -> None:
    make = zipped if name.endswith("zip") else tarred
    archive = make(tmp_path / "archive" / name, large, *(["gz"] if name.endswith("gz") else []))
    obstore.put(bucket, f"b/{name}", archive.read_bytes())

    assert counts(index_paths(catalog, [f"s3://bench/b/{name}"])) == (4, 0, 0, 0)
    assert counts(index_paths(catalog, [f"s3://bench/b/{name}"])) == (0, 0, 4, 0)
    assert copied(catalog, tmp_path / "fetched") == [each.read_bytes() for each in large]
    obstore.delete(bucket, f"b/{name}")
    with pytest.raises(NotFoundError, match="has no objects"):
        index_paths(catalog, [f"s3://bench/b/{name}"])


def test_credentials_come_from_the_environment_and_are_in_no_text(
    sqlite_catalog: Catalog, bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL"):
        index_paths(sqlite_catalog, ["s3://bench/a?endpoint=http://elsewhere"])


def test_a_public_bucket_is_read_without_credentials_and_another_refuses_in_words(
    sqlite_catalog: Catalog, web: Web, large: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.address)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    web.files["/public/series/0.dcm"] = large[0].read_bytes()
    assert counts(index_paths(sqlite_catalog, ["s3://public/series/0.dcm"])) == (1, 0, 0, 0)
    assert web.asked
    assert not any("authorization" in map(str.lower, headers) for _, headers in web.asked)
    web.refuses = True
    with pytest.raises(PermissionError, match="give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the"):
        index_paths(sqlite_catalog, ["s3://public/series/0.dcm"])


def test_folders_of_web_servers_are_refused_in_words(sqlite_catalog: Catalog, web: Web) -> None:
    with pytest.raises(SettingsError, match="folders of web servers are not listed"):
        index_paths(sqlite_catalog, [f"{web.address}/data/"])
    web.redirect = "/elsewhere"  # as servers answer the name of a folder
    with pytest.raises(NotFoundError, match="is answered with another address, which is not followed"):
        index_paths(sqlite_catalog, [f"{web.address}/data"])


def test_headers_on_a_web_server_are_read_by_ranges(
    sqlite_catalog: Catalog, tmp_path: Path, large: list[Path], web: Web
) -> None:
    archive = zipped(tmp_path / "archive" / "disk.zip", large, 0)
    web.files = {"/data/disk.zip": archive.read_bytes(), "/data/one": large[0].read_bytes()}

    report = index_paths(sqlite_catalog, [f"{web.address}/data/disk.zip"])

    assert counts(report) == (4, 0, 0, 0)
    assert web.sent < archive.stat().st_size / 2
    assert all("Authorization" not in headers for _, headers in web.asked)
    sent = web.sent
    assert counts(index_paths(sqlite_catalog, [f"{web.address}/data/disk.zip"])) == (0, 0, 4, 0)
    assert web.sent - sent < 10
    report = index_paths(sqlite_catalog, [f"{web.address}/data/one"])
    assert (report.added, report.duplicates) == (1, 1)
    assert copied(sqlite_catalog, tmp_path / "fetched") == [each.read_bytes() for each in large]
    web.files["/data/disk.zip"] = zipped(archive, large[1:], 0).read_bytes()
    report = index_paths(sqlite_catalog, [f"{web.address}/data/disk.zip"])
    assert counts(report) == (0, 3, 0, 0)
    assert [Path(each).name for each in report.vanished] == ["0000.dcm"]


def test_a_redirect_is_not_followed(sqlite_catalog: Catalog, web: Web, other_web: Web) -> None:
    web.redirect, other_web.files = other_web.address, {"/disk.zip": b"PK"}

    with pytest.raises(NotFoundError, match="another address, which is not followed"):
        index_paths(sqlite_catalog, [f"{web.address}/disk.zip"])
    assert other_web.asked == []


def test_a_web_server_without_ranges_or_file_has_a_reason(sqlite_catalog: Catalog, web: Web) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        index_paths(sqlite_catalog, [f"{web.address}/disk.zip"])
    web.ranges, web.files = False, {"/disk.zip": b"PK"}
    with pytest.raises(NotFoundError, match="does not give ranges"):
        index_paths(sqlite_catalog, [f"{web.address}/disk.zip"])


@pytest.mark.parametrize(
    "address",
    ["https://user:secret@host/a.zip", "https://host/a.zip?token=secret", "https://host", "https://host/folder/",
     "https:///a.zip", "s3://", "s3://../a", "s3://Bucket/a", "https://host:port/a.zip"],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused_before_anybody_is_asked(
    sqlite_catalog: Catalog, address: str
) -> None:
    with pytest.raises(SettingsError) as error:
        index_paths(sqlite_catalog, [address])
    assert "secret" not in str(error.value)


def test_an_object_that_is_gone_is_a_reason_where_it_is_wanted(
    sqlite_catalog: Catalog, tmp_path: Path, large: list[Path], web: Web
) -> None:
    web.files = {"/one": large[0].read_bytes()}
    index_paths(sqlite_catalog, [f"{web.address}/one"])
    web.files = {}

    with Fetched(sqlite_catalog, tmp_path / "fetched", 0).local(find_instances(sqlite_catalog)) as local:
        assert list(local.failures.values()) == ["cannot be read: no such file on the web server"]


def test_reading_ahead_gives_the_bytes_in_few_requests() -> None:
    content, asked = bytes(range(256)) * 65536, list[int]()

    def read(position: int, count: int) -> bytes:
        asked.append(count)
        return content[position : position + count]

    reading = ahead(read, len(content))
    assert b"".join(reading(at, 1000) for at in range(0, len(content), 1000)) == content
    assert len(asked) < 15
    assert reading(len(content) - 5, 100) == content[-5:]
    assert reading(3, 5) == content[3:8]
