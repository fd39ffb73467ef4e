"""What the tests of faults share."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from catalog.database import Catalog


@pytest.fixture(scope="session")
def strace(missing: Callable[[str], NoReturn]) -> str:
    found = shutil.which("strace")
    if found is None:
        missing("strace is not there: apt-get install strace, or as root tests/install_system.sh")
    return found


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog whose schema is made already: what comes before is tested elsewhere."""
    Catalog(path := tmp_path_factory.mktemp("fresh") / "catalog.sqlite").close()
    return path


@pytest.fixture
def small_disk(missing: Callable[[str], NoReturn]) -> Iterator[Callable[[Path, int], None]]:
    """Mount a file system of so many megabytes at a folder."""
    mounted: list[Path] = []

    def mount(folder: Path, megabytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            missing(
                "a small file system cannot be mounted: run the tests as root, in a container that may mount"
            )
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)
