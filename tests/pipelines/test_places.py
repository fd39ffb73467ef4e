"""One contract for wherever arrays lie: a folder of this machine, or a bucket of a real S3 server."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from catalog.database import Catalog
from catalog.errors import ArrayError, SettingsError
from catalog.identifiers import folder_name
from catalog.index import index_paths
from catalog.query import find_series, instances_of
from catalog.records import ArrayRecord
from pipelines import phantoms
from pipelines.ingest import Ingested, ingest_series
from pipelines.store import arrays
from pipelines.store.places import LocalPlace, Place, S3Place, at
from pipelines.verify import verify_array
from pipelines.volumes import open_array, stored_values

SECRET = "a-secret-of-the-tests"


@pytest.fixture(params=["folder", "S3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "folder":
        yield LocalPlace(tmp_path / "arrays")
        return
    server = request.getfixturevalue("s3_server")
    place = at(server.address(f"{tmp_path.parent.name}/{tmp_path.name}"))
    yield place
    place.remove()


class Series:
    """An indexed series and where its arrays go."""

    def __init__(self, catalog: Catalog, folder: Path, root: Place) -> None:
        index_paths(catalog, [folder])
        (self.series,) = find_series(catalog)
        self.instances = instances_of(catalog, self.series.series_instance_uid)
        self.root = root

    def ingest(self, **more: Any) -> Ingested:
        return ingest_series(self.series, self.instances, self.root, threads=2, **more)

    @property
    def folder(self) -> Place:
        return self.root / folder_name(self.series.series_instance_uid)


@pytest.fixture
def series(catalog: Catalog, ct: phantoms.Phantom, root: Place) -> Series:
    return Series(catalog, ct.paths[0].parent, root)


def names(place: Place) -> list[str]:
    return [each.place.name for each in place.holdings()]


# --- files -----------------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_was_written_and_no_further_than_the_limit(root: Place) -> None:
    (root / "a").write("b/c", b"0123456789")
    assert (root / "a").read("b/c", 100) == root.read("a/b/c", 100) == b"0123456789"
    assert root.read("a/b/c", 4) == b"0123"
    root.write("a/b/c", b"")
    assert root.read("a/b/c", 4) == b""


def test_sizes_tell_what_is_not_there(root: Place) -> None:
    root.write("a/b", b"12345")
    assert root.sizes(["a/b", "a/none", "none"]) == (5, 0, 0)


def test_an_absent_file_is_an_os_error_in_words(root: Place) -> None:
    with pytest.raises(FileNotFoundError, match=r"(?i)no such"):
        root.read("none", 10)


def test_what_is_removed_is_counted_and_its_neighbours_stay(root: Place) -> None:
    for name in ("a/1", "a/2/3", "ab/1"):
        root.write(name, b"12345")
    assert [(each.place.name, each.bytes) for each in root.holdings()] == [("a", 10), ("ab", 5)]
    assert (root / "a").remove() == 10
    assert names(root) == ["ab"]


def test_an_address_opens_the_same_place_in_any_process(root: Place) -> None:
    root.write("a", b"here")
    assert at(root.address).read("a", 9) == b"here"
    assert at(root.address) == at(root.address)


def test_what_is_staged_is_seen_when_it_is_published_and_gone_when_it_is_not(root: Place) -> None:
    with suppress(ZeroDivisionError), root.staged("x") as staged:
        staged.place.write("values", b"half")
        raise ZeroDivisionError
    assert names(root) == []
    with root.staged("x") as staged:
        staged.place.write("values", b"whole")
        staged.publish()
    (found,) = root.candidates("x")
    assert found.address == staged.final.address
    assert found.read("values", 9) == b"whole"


def test_a_second_one_of_the_same_name_does_not_mix_with_the_first(root: Place) -> None:
    for content in (b"1", b"2"):
        with root.staged("x") as staged:
            staged.place.write(f"only-{content.decode()}", content)
            staged.publish()
    latest = at(staged.final.address)
    assert latest.sizes(["only-1", "only-2"]) == (0, 1)


# --- arrays ----------------------------------------------------------------------------------------------


def test_what_was_ingested_opens_with_its_values(series: Series, ct: phantoms.Phantom) -> None:
    (record,) = series.ingest().arrays
    assert at(record.path) == at(series.folder.address) / at(record.path).name
    np.testing.assert_array_equal(open_array(record).to_numpy(), ct.modality_values)
    np.testing.assert_array_equal(stored_values(record)[3, 4:9, ::2].to_numpy(), ct.stored[3, 4:9, ::2])
    assert verify_array(record, series.instances).mismatches == ()
    volume = open_array(record)
    assert volume.dicom.attributes.PatientName == "Phantom^Sphere"
    assert volume[2:4].dicom.frame_attributes["InstanceNumber"].tolist() == [3, 4]


def test_arrays_are_sharded(series: Series) -> None:
    (record,) = series.ingest().arrays
    metadata = json.loads(at(record.path).read("values/zarr.json", 1 << 20))
    assert [codec["name"] for codec in metadata["codecs"]] == ["sharding_indexed"]


def test_ingested_twice_is_written_once(series: Series) -> None:
    first = series.ingest()
    before = [(each.place.name, each.changed) for each in series.folder.holdings()]
    assert series.ingest() == first
    assert [(each.place.name, each.changed) for each in series.folder.holdings()] == before


def whole(record: ArrayRecord) -> bool:
    return not verify_array(record, ()).mismatches


def replaced(group: Place, name: str, content: bytes) -> None:
    if isinstance(group, LocalPlace):
        (group.path / name).write_bytes(content)
    else:
        group.write(name, content)


@pytest.mark.parametrize(
    "name", ["values/c/0/0/0", "values/zarr.json", "zarr.json", "dicom.json", "dicom_frames.json"]
)
def test_altered_bytes_are_noticed(series: Series, name: str) -> None:
    (record,) = series.ingest().arrays
    group = at(record.path)
    content = bytearray(group.read(name, 1 << 24))
    content[len(content) // 3] ^= 4
    replaced(group, name, bytes(content))
    found = verify_array(record, series.instances).mismatches
    assert f"{group}/{name}" in {each.path for each in found}


def removed(group: Place, name: str) -> None:
    if isinstance(group, LocalPlace):
        (group.path / name).unlink()
    else:
        (group / name.rpartition("/")[0]).remove()


def test_a_lost_shard_is_noticed_on_opening_and_the_next_ingest_mends_it(
    series: Series, ct: phantoms.Phantom
) -> None:
    (record,) = series.ingest().arrays
    removed(at(record.path), "values/c/0/0/0")
    with pytest.raises(ArrayError, match="missing or cut"):
        open_array(record)
    (again,) = series.ingest().arrays
    np.testing.assert_array_equal(open_array(again).to_numpy(), ct.modality_values)


def test_an_interrupted_write_leaves_nothing_that_is_seen(series: Series, ct: phantoms.Phantom) -> None:
    def stop(_done: int, _of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        series.ingest(progress=stop)
    assert names(series.folder) == []
    (record,) = series.ingest().arrays
    np.testing.assert_array_equal(open_array(record).to_numpy(), ct.modality_values)


KILLED = """
import os, pickle, sys
from pipelines.store import arrays
from pipelines.ingest import ingest_series
series, instances, root = pickle.load(sys.stdin.buffer)
arrays.write_attributes = lambda *given: os._exit(9)
ingest_series(series, instances, root, threads=1)
"""


def test_what_a_killed_process_left_is_no_array_and_does_not_disturb_the_next(
    series: Series, ct: phantoms.Phantom
) -> None:
    given = pickle.dumps((series.series, series.instances, series.root.address))
    done = subprocess.run([sys.executable, "-c", KILLED], input=given, env=os.environ | {"PYTHONPATH": "."})
    assert done.returncode == 9
    (left,) = series.folder.holdings()
    assert left.bytes > 0
    with pytest.raises(ArrayError, match="incomplete"):
        arrays.read_block(left.place)
    (record,) = series.ingest().arrays
    np.testing.assert_array_equal(open_array(record).to_numpy(), ct.modality_values)


def test_a_dask_worker_opens_it_with_the_record_and_its_own_environment(
    series: Series, ct: phantoms.Phantom, root: Place, tmp_path: Path
) -> None:
    from distributed.deploy.subprocess import SubprocessCluster

    (record,) = series.ingest().arrays
    with (
        SubprocessCluster(  # type: ignore[no-untyped-call]
            host="127.0.0.1", n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,  # type: ignore[no-untyped-call]
    ):
        volume = client.submit(open_array, record).result()
        assert SECRET.encode() not in pickle.dumps(volume)
        (computed,) = client.compute([volume.data.sum()])
        assert computed.result() == ct.modality_values.sum()
    assert isinstance(volume, xr.DataArray)


# --- S3 alone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_SECRET_ACCESS_KEY", "another-secret-that-is-wrong", "refuses"),
        ("AWS_ACCESS_KEY_ID", "nobody-of-this-name", "refuses"),
    ],
)
def test_wrong_credentials_are_said_without_showing_them(
    s3_server: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    acts: list[Callable[[Place], object]] = [
        lambda place: place.read("x", 9),
        lambda place: place.write("x", b""),
        lambda place: place.holdings(),
        lambda place: arrays.open_values(place),
    ]
    for act in acts:
        with pytest.raises((PermissionError, ArrayError), match=said) as caught:
            act(at(s3_server.address("p")))
        text = str(caught.value)
        assert "environment" in text
        assert not {value, SECRET, "a-key-of-the-tests"} & set(text.split())
        assert value not in text
        assert caught.value.__suppress_context__


def test_without_credentials_s3_is_refused_at_once(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID"):
        at(s3_server.address("p")).read("x", 9)


def test_a_server_that_is_not_there_is_an_error_that_says_so(s3_server: Any) -> None:
    place = at("s3://bench/p?endpoint=http://127.0.0.1:1&region=us-east-1")
    with pytest.raises(ConnectionError, match="does not answer"):
        place.read("x", 9)


def test_a_bucket_that_is_not_there_is_an_error_that_says_so(s3_server: Any) -> None:
    place = at(s3_server.address("p").replace("//bench/", "//none/"))
    with pytest.raises(FileNotFoundError, match="no such object or bucket"):
        place.read("x", 9)


@pytest.mark.parametrize(
    "address",
    [
        "s3://",
        "s3://bucket/p?endpoint=ftp://host",
        "s3://bucket/p?endpoint=https://user:word@host",
        "s3://bucket/p?secret=word",
        "s3://user@bucket/p",
    ],
)
def test_an_address_that_cannot_be_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(SettingsError) as caught:
        at(address)
    assert "word" not in str(caught.value)


def test_an_address_names_bucket_prefix_endpoint_and_region(s3_server: Any) -> None:
    place = at(s3_server.address("a/b"))
    assert isinstance(place, S3Place)
    assert place.address == s3_server.address("a/b")
    assert (place / "c").address == s3_server.address("a/b/c")
    assert SECRET not in repr(place)
