"""A node is valid once it is built."""

from typing import Any

import pytest

from workbench.pacs.dimse_node import DimseNode


def test_a_node_is_called_by_its_ae_title_unless_it_has_a_name() -> None:
    assert DimseNode("PACS", "localhost", 104).name == "PACS"
    assert DimseNode("PACS", "localhost", 104, name="archive").name == "archive"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ae_title": ""}, "AE title"),
        ({"ae_title": " " * 5}, "AE title"),
        ({"ae_title": "A" * 17}, "AE title"),
        ({"ae_title": "A\\B"}, "AE title"),
        ({"ae_title": "Ä"}, "AE title"),
        ({"calling_ae_title": "A\nB"}, "AE title"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"answer_seconds": 0}, "time-outs"),
        ({"connection_seconds": -1.0}, "time-outs"),
        ({"maximum_pdu": 100}, "PDU"),
    ],
)
def test_what_no_node_can_have_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DimseNode(**{"ae_title": "PACS", "host": "localhost", "port": 104} | wrong)
