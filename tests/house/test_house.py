"""The house itself: which rooms load from where, what the core does not load, and one set of dependencies."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("room", ["catalog", "pipelines", "workbench"])
def test_each_room_loads_from_this_repository(room: str) -> None:
    assert Path(str(import_module(room).__file__)).parent == ROOT / room


def test_every_module_is_on_the_map_of_contributing() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    on_map = set(re.findall(r"\w+", text.split("what it is about")[1].split("\n\n")[0]))
    for path in tracked_files():
        room, *inside = path.relative_to(ROOT).with_suffix("").parts
        if room not in ("catalog", "pipelines", "workbench") or path.suffix != ".py":
            continue
        kinds = {"steps", "migrations"} & set(inside)  # of these the folder is on the map
        assert kinds or inside[-1].startswith("__") or inside[-1] in on_map, f"{path} is not on the map"


def test_every_module_of_the_map_of_contributing_is_there() -> None:
    rooms = ("catalog", "pipelines", "workbench")
    there = [path.relative_to(ROOT).with_suffix("").parts for path in tracked_files()]
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = text.split("what it is about")[1].split("\n\n")[0].splitlines()[2:]
    for row in rows:
        for room, cell in zip(rooms, row.strip("|").split("|")[1:], strict=True):
            inside = [path[1:] for path in there if path[0] == room]
            said = re.sub("in child processes:|in Zarr:|`extensions/.*", "", cell)
            for folder, words in re.findall(r"(?:`(\w+)/`)?([^`,;]*)", said):
                for word in words.replace("pacs:", "").split():
                    found = [each for each in inside if word in each and (not folder or folder in each[:-1])]
                    assert found, f"{room}/{folder} has no {word}, which is on the map"


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}; import sys; sys.stdout.write(chr(10).join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import workbench", {"xarray", "pandas", "zarr", "sqlalchemy", "pydicom", "pynetdicom", "IPython"}),
        ("import workbench.pacs.deliver", {"ipywidgets", "IPython", "jupyterlab", "zarr"}),
        ("import pipelines.runs.run", {"ipywidgets", "IPython", "pynetdicom", "workbench", "sqlalchemy"}),
        ("import workbench.session", {"ipywidgets", "jupyterlab", "matplotlib", "pydicom", "xarray", "dask"}),
    ],
)
def test_importing_the_core_loads_no_extra(statement: str, unwanted: set[str]) -> None:
    assert not loaded_by(statement) & unwanted


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ;]", each, maxsplit=1)[0].lower().replace("_", "-") for each in requirements}


def all_requirements() -> set[str]:
    extras = PROJECT["optional-dependencies"]
    return names(PROJECT["dependencies"]).union(*(names(extra) for extra in extras.values()))


def test_the_lock_pins_every_dependency_of_the_project_and_names_no_address() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==\S+( ; .+)?", line) for line in lines)
    assert all_requirements() <= names(lines)


def test_the_lock_satisfies_the_ranges_of_the_project() -> None:
    from packaging.requirements import Requirement

    pinned: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        name, _, rest = line.partition("==")
        pinned.setdefault(name, []).append(rest.split(" ;")[0])
    ranges = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for requirement in map(Requirement, ranges):
        for version in pinned[requirement.name.lower()]:
            assert requirement.specifier.contains(version), f"{requirement} but {version} is locked"


def test_conda_users_get_the_same_dependencies() -> None:
    text = (ROOT / "environment.yml").read_text()
    assert "--constraint requirements.lock" in text
    (editable,) = re.findall(r"--editable \.\[(.+)\]", text)
    assert set(editable.split(",")) == set(PROJECT["optional-dependencies"])
    assert f"python{PROJECT['requires-python']}" in text


def test_no_address_or_path_of_a_machine_is_in_the_repository() -> None:
    pattern = re.compile(rb"pythonhosted|pypi\.org|registry\.npmjs|deb\.debian|/root/|/home/[a-z]+/")
    for path in tracked_files():
        if path != Path(__file__).resolve() and path.suffix != ".png":
            assert not pattern.search(path.read_bytes()), path


def test_notebooks_hold_no_outputs() -> None:
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            assert not cell.get("outputs"), path
            assert cell.get("execution_count") is None, path


def test_the_daily_interpreter_is_one_the_project_allows() -> None:
    from packaging.specifiers import SpecifierSet

    daily = (ROOT / ".python-version").read_text().strip()
    assert daily == "3.13"
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{daily}.0")
