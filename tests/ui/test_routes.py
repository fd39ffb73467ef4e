"""What the Jupyter server gives, and to whom."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

KEY = "0" * 32


def asked(
    lab: Any, path: str, *, token: str = "", method: str = "GET", body: bytes | None = None
) -> tuple[int, bytes]:
    headers = {"Authorization": f"token {token}"} if token else {}
    request = urllib.request.Request(f"{lab.url}{path}", headers=headers, method=method, data=body)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(
    "path",
    [
        f"workbench/arrays/{KEY}/planes/0",
        f"workbench/arrays/{KEY}/traces/0.0",
        f"workbench/pictures/{KEY}",
    ],
)
@pytest.mark.parametrize("token", ["", "another"])
def test_a_stranger_gets_nothing(lab: Any, path: str, token: str) -> None:
    method, body = ("PUT", b"") if "pictures" in path else ("GET", None)
    assert asked(lab, path, token=token, method=method, body=body)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        f"workbench/arrays/{KEY}/planes/0",
        f"workbench/arrays/{KEY}/planes/-1",
        f"workbench/arrays/{KEY}/planes/0?packed=2",
        f"workbench/arrays/{KEY}/planes/0?coarse=2",
        f"workbench/arrays/{KEY}/traces/0.0",
        f"workbench/arrays/{KEY}/traces/0",
        f"workbench/arrays/{KEY}/planes/0/../../../../etc/passwd",
        "workbench/arrays/..%2F..%2Fsecret/planes/0",
        "workbench/arrays/x/planes/0",
    ],
)
def test_what_no_notebook_shows_is_not_found(lab: Any, path: str) -> None:
    assert asked(lab, path, token=lab.token)[0] == 404


@pytest.mark.parametrize("path", ["planes/0?coarse=3", "planes/0?coarse=", "traces/0.0?coarse=2"])
def test_how_coarse_a_picture_is_must_be_one_of_a_few_steps(lab: Any, path: str) -> None:
    status, said = asked(lab, f"workbench/arrays/{KEY}/{path}", token=lab.token)
    assert status == 404
    is_refused = "coarse" in json.loads(said)["message"]
    assert is_refused is not path.endswith("=")  # nothing said is a plane, of an array that nobody shows


def test_a_picture_nobody_waits_for_is_not_kept_and_what_is_none_is_refused(lab: Any) -> None:
    png = b"\x89PNG\r\n\x1a\n"
    status, said = asked(lab, f"workbench/pictures/{KEY}", token=lab.token, method="PUT", body=png)
    assert status == 404
    assert json.loads(said)["message"] == "no kernel waits for such a picture"
    assert asked(lab, f"workbench/pictures/{KEY}", token=lab.token, method="PUT", body=b"<html>")[0] == 400
