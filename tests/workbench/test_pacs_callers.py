"""An AE title alone grants nothing: the address or the certificate must fit, and what is asked be allowed."""

import pytest

from workbench.pacs.callers import ANYONE_HERE, Caller, Callers, why_not_open

CT = Caller("CT", "CT1", frozenset({"10.0.0.1"}), "", frozenset({"store"}))
PROVEN = Caller("PROVEN", "PACS", frozenset(), "AB:" + "0" * 62, frozenset({"store", "find"}))


@pytest.mark.parametrize(
    ("ae_title", "address", "certificate", "who"),
    [
        ("CT1", "10.0.0.1", "", CT),
        ("CT1 ", "::ffff:10.0.0.1", "", CT),
        ("CT1", "10.0.0.2", "", None),
        ("CT2", "10.0.0.1", "", None),
        ("ct1", "10.0.0.1", "", None),
        ("PACS", "10.9.9.9", "ab" + "0" * 62, PROVEN),
        ("PACS", "10.9.9.9", "cd" + "0" * 62, None),
        ("PACS", "10.9.9.9", "", None),
        ("CT1", "10.9.9.9", "ab" + "0" * 62, None),
        ("", "", "", None),
    ],
)
def test_who_calls(ae_title: str, address: str, certificate: str, who: Caller | None) -> None:
    assert Callers([CT, PROVEN]).who(ae_title, address, certificate) == who


def test_whoever_is_on_this_machine_may_store_where_that_is_wanted_and_nobody_else() -> None:
    callers = Callers([ANYONE_HERE])
    assert callers.who("ANY", "127.0.0.1") == ANYONE_HERE
    assert callers.who("ANY", "10.0.0.1") is None


@pytest.mark.parametrize(
    ("host", "tls", "callers", "words"),
    [
        ("127.0.0.1", False, [], None),
        ("0.0.0.0", True, [CT], None),
        ("0.0.0.0", False, [CT], "needs TLS: set tls_certificate"),
        ("0.0.0.0", True, [ANYONE_HERE], r"needs at least one node"),
        ("192.168.1.2", False, [], "TLS.*node"),
    ],
)
def test_only_this_machine_is_served_without_TLS_and_known_callers(
    host: str, tls: bool, callers: list[Caller], words: str | None
) -> None:
    import re

    said = why_not_open(host, tls=tls, callers=callers)
    assert (said is None) == (words is None)
    if words is not None:
        assert re.search(words, said or "")
