"""What answers of STOW-RS mean (PS3.18 section 10.5.3)."""

import json
from typing import Any

import pytest

from catalog.deliveries import Event
from workbench.pacs.web.stow import meaning_of

UID = "1.2.3"


def item(uid: str = UID, **codes: int) -> dict[str, Any]:
    tags = {"warning": "00081196", "reason": "00081197"}
    found: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    return found | {tags[name]: {"vr": "US", "Value": [code]} for name, code in codes.items()}


def answer(
    referenced: list[dict[str, Any]] | None = None, failed: list[dict[str, Any]] | None = None,
    others: list[dict[str, Any]] | None = None,
) -> bytes:  # fmt: skip
    told = {"00081199": referenced, "00081198": failed, "0008119A": others}
    return json.dumps(
        {tag: {"vr": "SQ", "Value": some} for tag, some in told.items() if some is not None}
    ).encode()


@pytest.mark.parametrize(
    ("status", "content", "event", "words"),
    [
        (200, answer([item()]), Event.SUCCESS, "stored (status 200)"),
        (200, b"[" + answer([item()]) + b"]", Event.SUCCESS, "stored"),
        (200, answer([item()], failed=[]), Event.SUCCESS, "stored"),  # as Orthanc 1.7 has it
        (202, answer([item(warning=0xB000)]), Event.WARNING, "changed some of the values (status B000)"),
        (202, answer([item(warning=0xB006)]), Event.WARNING, "left out some of the elements"),
        (202, answer([item(warning=0xA700)]), Event.WARNING, "warning reason A700"),
        (202, answer(failed=[item(reason=0xA700)]), Event.UNAVAILABLE, "out of resources"),
        (202, answer(failed=[item(reason=0x0110)]), Event.UNAVAILABLE, "failed while it processed"),
        (202, answer(failed=[item(reason=0x0122)]), Event.REFUSED, "does not accept this SOP class"),
        (409, answer(failed=[item(reason=0xA900)]), Event.REFUSED, "does not match its SOP class"),
        (409, answer(failed=[item(reason=0xC122)]), Event.REFUSED, "does not store this transfer syntax"),
        (409, answer(failed=[item(reason=0xA700)]), Event.UNAVAILABLE, "out of resources"),
        (409, answer(failed=[item(reason=0x0111)]), Event.WARNING, "already holds an instance"),
        (409, answer(failed=[item()]), Event.REFUSED, "gives no reason"),
        (202, answer(failed=[item()]), Event.UNAVAILABLE, "gives no reason"),
        (202, answer(failed=[item(reason=0)]), Event.UNAVAILABLE, "a reason that is none"),
        (200, answer(failed=[item(reason=0xB000)]), Event.UNAVAILABLE, "a reason that is none"),
        (200, answer([item()], [item(reason=0xC000)]), Event.REFUSED, "cannot understand"),  # both: it failed
        (202, answer(others=[item("", reason=0xA700)]), Event.UNAVAILABLE, "out of resources"),
        (200, answer([item("9.9")]), Event.WARNING, "does not name the instance"),
        (409, answer([item()]), Event.REFUSED, "does not take it (status 409)"),
        (200, b"", Event.SUCCESS, "stored (status 200)"),
        (200, b"<NativeDicomModel/>", Event.SUCCESS, "stored (status 200)"),
        (200, b'{"00081199": 7}', Event.WARNING, "does not name the instance"),
        (200, b"[[]]", Event.SUCCESS, "stored"),
        (400, b"", Event.REFUSED, "does not understand"),
        (401, b"", Event.UNAVAILABLE, "check token_variable"),
        (403, b"", Event.UNAVAILABLE, "does not allow"),
        (404, b"", Event.REFUSED, "check the url"),
        (413, b"", Event.REFUSED, "too large"),
        (415, b"", Event.REFUSED, "DICOM files"),
        (418, b"", Event.REFUSED, "refuses it (status 418)"),
        (429, b"", Event.UNAVAILABLE, "fewer requests"),
        (500, b"", Event.UNAVAILABLE, "cannot store it now"),
        (501, b"", Event.REFUSED, "does not offer"),
        (503, b"", Event.UNAVAILABLE, "cannot store it now"),
        (507, b"", Event.UNAVAILABLE, "has no room"),
        (307, b"", Event.REFUSED, "is not followed"),
        (999, b"", Event.UNAVAILABLE, "nobody defined"),
    ],
)
def test_what_an_answer_means(status: int, content: bytes, event: Event, words: str) -> None:
    meaning = meaning_of(status, content, UID)
    assert (meaning.event, words in meaning.words) == (event, True), meaning
