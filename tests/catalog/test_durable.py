import errno
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catalog.durable import Partial, file_digest, publish, publish_files, write, write_parts


def test_a_written_file_has_its_bytes_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "made" / "on the way" / "object.dcm"
    write(target, b"before")
    write(target, memoryview(b"after"))
    assert target.read_bytes() == b"after"
    assert list(target.parent.iterdir()) == [target]


def test_what_cannot_get_its_name_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    (target := tmp_path / "object.dcm").mkdir()
    with pytest.raises(OSError, match="directory"):
        write(target, b"whole")
    assert list(tmp_path.rglob("*")) == [target]


def test_two_writers_of_one_file_never_mix_their_bytes(tmp_path: Path) -> None:
    target, contents = tmp_path / "object.dcm", [bytes([number]) * 300_000 for number in range(8)]
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(lambda content: write(target, content), contents * 4))
    assert target.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [target]


def test_a_published_folder_takes_the_place_of_a_damaged_one(tmp_path: Path) -> None:
    partial, folder = tmp_path / ".partial-array", tmp_path / "array"
    for content in (b"first", b"second"):
        (partial / "c").mkdir(parents=True)
        (partial / "c" / "0").write_bytes(content)
        publish(partial, folder)
        assert (folder / "c" / "0").read_bytes() == content
        (folder / "damage").touch()
        (tmp_path / ".partial-array-before" / "left by a crash").mkdir(parents=True)
    publish(folder.rename(partial), folder)
    assert [path.name for path in tmp_path.iterdir() if path != folder] == [".partial-array-before"]


def test_the_digest_of_a_file_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(b"bytes" * 100_000)
    assert file_digest(path) == hashlib.sha256(b"bytes" * 100_000).hexdigest()


def test_every_name_on_the_way_to_a_new_file_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    write(tmp_path / "a" / "b" / "file", b"whole")
    assert {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")} <= set(synced)
    synced.clear()
    (partial := tmp_path / "a" / "b" / ".partial-0").mkdir()
    (partial / "zarr.json").write_bytes(b"{}")
    publish(partial, tmp_path / "a" / "b" / "0")
    assert synced[-1] == str(tmp_path / "a" / "b")
    assert {str(partial / "zarr.json"), str(partial)} <= set(synced)


def test_a_full_disk_is_an_error_of_the_file_that_was_asked_for(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"begun"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="whole") as caught:
        write_parts(tmp_path / "whole", parts())
    assert caught.value.filename == str(tmp_path / "whole")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_published_together_are_durable_before_any_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def recorded(descriptor: int) -> None:
        steps.append(Path(f"/proc/self/fd/{descriptor}").readlink().name.partition(".")[0])
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        steps.append(f"{target.name} named")
        return replace(path, target)

    files = [Partial(tmp_path / "folder" / name) for name in ("one", "two")]
    for number, file in enumerate(files):
        file.write(b"whole")
        if number:
            file.close()
    monkeypatch.setattr(os, "fsync", recorded)
    monkeypatch.setattr(Path, "replace", renamed)
    publish_files(files)
    assert steps == ["two", "one", "one named", "two named", "folder"]
    assert [file.target.read_bytes() for file in files] == [b"whole"] * 2


def test_what_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    file = Partial(tmp_path / "one")
    file.write(b"begun")
    file.discard()
    assert list(tmp_path.iterdir()) == []
