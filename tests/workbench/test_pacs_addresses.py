"""Addresses of hosts: a name that cannot be looked up is looked up again, and not too often."""

import socket

from workbench.pacs.addresses import AGAIN_SECONDS, Addresses


class Names:
    """A service of names that may be away."""

    is_away = True
    asked = 0
    now = 100.0

    def look_up(self, host: str) -> frozenset[str]:
        self.asked += 1
        if self.is_away:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return frozenset({"10.0.0.1"})


def addresses(names: Names, told: list[str]) -> Addresses:
    return Addresses("pacs.example", told.append, look_up=names.look_up, clock=lambda: names.now)


def test_a_name_that_cannot_be_looked_up_is_looked_up_again_when_somebody_calls_after_a_while() -> None:
    names, told = Names(), list[str]()
    found = addresses(names, told)
    assert told == ["temporary failure in name resolution"]
    assert "10.0.0.1" not in found
    names.is_away = False
    assert "10.0.0.1" not in found, "not at once again: calls of strangers are no load for the names' service"
    assert names.asked == 1
    names.now += AGAIN_SECONDS
    assert "10.0.0.1" in found
    assert "10.0.0.2" not in found
    assert told == ["temporary failure in name resolution", ""]


def test_a_name_that_stays_unknown_is_said_once() -> None:
    names, told = Names(), list[str]()
    found = addresses(names, told)
    for _ in range(3):
        names.now += AGAIN_SECONDS
        assert "10.0.0.1" not in found
    assert (names.asked, len(told)) == (4, 1)


def test_what_was_found_is_not_looked_up_again() -> None:
    names, told = Names(), list[str]()
    names.is_away = False
    found = addresses(names, told)
    names.now += 10 * AGAIN_SECONDS
    assert "10.0.0.1" in found
    assert (names.asked, told) == (1, [])


def test_what_can_be_no_name_is_no_address_of_anybody() -> None:
    told: list[str] = []
    assert "127.0.0.1" not in Addresses("a" * 300, told.append)
    assert len(told) == 1
