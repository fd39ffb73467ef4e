"""The conformance statement says what the code says, and the tests it names are there."""

import ast
import re
from importlib import import_module
from inspect import getsource
from pathlib import Path
from runpy import run_path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = run_path(str(ROOT / "docs" / "make_conformance.py"))
PROMISED = run_path(str(ROOT / "docs" / "promises.py"))
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^ *def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_the_page_is_what_the_script_writes_today() -> None:
    assert (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8") == SCRIPT["page"]()


def test_every_promise_is_held_by_tests_that_are_there() -> None:
    assert list(PROMISED["PROMISES"]) == [f"P{number}" for number in range(1, 9)]
    named = [test for each in PROMISED["PROMISES"].values() for test in each.tests]
    named += [test for _, tests in PROMISED["FAULTS"].values() for test in tests]
    assert [name for name in named if name not in TESTS and not (ROOT / "tests" / name).is_file()] == []


ASKED = {"1", "2", "5", "8", "9", "10", "17", "18", "19", *map(str, range(21, 30)), "32", "36", "37"}
"""What a receiver and a sender of images must go through."""


def test_every_test_of_a_fault_has_its_number_in_its_name_and_every_number_is_explained() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "faults").glob("test_*.py")]
    names = [name for text in texts for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)]
    names += [test for _, tests in PROMISED["FAULTS"].values() for test in tests if "/" not in test]
    numbers = {name: re.match(r"test_(\d+)_", name) for name in names}
    assert [name for name, found in numbers.items() if found is None] == []
    assert {found[1] for found in numbers.values() if found} <= PROMISED["FAULTS"].keys()
    assert PROMISED["FAULTS"].keys() >= ASKED
    assert list(PROMISED["FAULTS"]) == sorted(PROMISED["FAULTS"], key=int)


@pytest.mark.parametrize("module", ["receiver", "queries", "retrieving", "commitments"])
def test_every_status_that_can_be_answered_stands_on_the_page(module: str) -> None:
    name = f"workbench.pacs.{module}"
    body = ast.parse(getsource(import_module(name))).body
    ends = [
        at
        for at, each in enumerate(body)
        if isinstance(each, ast.Expr)
        and isinstance(each.value, ast.Constant)
        and str(each.value.value).startswith("Status codes")
    ]
    assert ends, "the module says which of its constants are status codes"
    codes = set()
    for end in ends:
        while isinstance(assign := body[end := end - 1], ast.Assign):
            codes |= {each.id for each in ast.walk(assign) if isinstance(each, ast.Name)}
    told = {code for rows in SCRIPT["STATUSES"].values() for where, code, _ in rows if where == name}
    assert codes == told
