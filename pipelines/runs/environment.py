"""What a run ran on: interpreter, machine, versions of the libraries, commit of a checkout."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = ("imaging-workbench", "numpy", "xarray", "dask", "distributed", "pydicom", "highdicom", "zarr")


@cache
def environment() -> dict[str, str]:
    """Names and versions of what a run depends on; the same all through a process."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "not installed"
    commit = _commit(Path(__file__).resolve().parents[2])
    return {**found, "commit": commit} if commit else found


def _commit(root: Path) -> str:
    """Commit of the checkout the packages are imported from; empty where they were installed."""
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit} with changes" if changed else commit


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
