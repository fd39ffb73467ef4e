"""What is shipped has the viewer: whoever installs it needs no Node.js."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
VIEWER = "share/jupyter/labextensions/imaging-workbench"


def run(*command: str | Path, cwd: Path) -> None:
    """Run a program of this environment where there is no Node.js, and no network."""
    environment = {**os.environ, "PATH": str(Path(sys.executable).parent), "PIP_NO_INDEX": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> dict[str, Path]:
    """The wheel, made of the source archive, and that."""
    if not (ROOT / "extensions" / "built" / "package.json").is_file():
        missing("the viewer is not built: make viewer")
    folder = tmp_path_factory.mktemp("shipped")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder, cwd=ROOT)
    (source,) = folder.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return {"source": source, "wheel": wheel}


def test_the_source_archive_has_the_viewer_as_it_was_built(shipped: dict[str, Path]) -> None:
    built = ROOT / "extensions" / "built"
    with tarfile.open(shipped["source"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {each.relative_to(ROOT).as_posix() for each in built.rglob("*") if each.is_file()}
    assert wanted <= names
    assert not any("node_modules" in name for name in names)


def test_a_wheel_puts_the_viewer_where_jupyter_looks_for_it(shipped: dict[str, Path], tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed", "--prefix")
    run(*pip, tmp_path, shipped["wheel"], cwd=tmp_path)
    assert (tmp_path / VIEWER / "package.json").is_file()
    assert list((tmp_path / VIEWER / "static").glob("remoteEntry*.js"))
    assert (tmp_path / "etc/jupyter/jupyter_server_config.d/imaging-workbench.json").is_file()
    with zipfile.ZipFile(shipped["wheel"]) as wheel:
        assert "workbench/locale/de_DE/LC_MESSAGES/imaging_workbench.json" in wheel.namelist()
