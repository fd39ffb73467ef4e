"""A node of the web is valid once it is built, and the settings say in words what is wrong with one."""

from pathlib import Path
from typing import Any

import pytest

from catalog.errors import SettingsError
from catalog.home import SETTINGS_FILE
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.web.node import WebNode
from workbench.settings import Settings


def test_an_address_has_a_host_a_port_and_a_root() -> None:
    node = WebNode("https://pacs.example.org/orthanc/dicom-web/")
    assert (node.name, node.host, node.port, node.root) == (
        "pacs.example.org", "pacs.example.org", 443, "/orthanc/dicom-web",
    )  # fmt: skip
    assert node.called("ARCHIVE", "WORKBENCH").address == "pacs://ARCHIVE"
    assert WebNode("http://127.0.0.1:8042").port == 8042


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"url": "pacs.example.org"}, "https://host:port/path"),
        ({"url": "https://user:secret@pacs.example.org/"}, "without user and query"),
        ({"url": "https://pacs.example.org/?q=1"}, "without user and query"),
        ({"url": "https://pacs.example.org:99999/"}, "https://host:port/path"),
        ({"url": "https://pacs.example.org/a\r\nHost: b"}, "https://host:port/path"),
        ({"url": "http://pacs.example.org/dicom-web"}, "begins with https://"),
        ({"client_key": Path("key.pem")}, "client_certificate, which is not given"),
        ({"url": "http://localhost/", "ca_file": Path("ca.pem")}, "begins with https://"),
        ({"answer_seconds": 0}, "time-outs"),
    ],
)
def test_what_no_node_can_have_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        WebNode(**{"url": "https://pacs.example.org"} | wrong)


def load(home: Path, lines: str) -> Settings:
    (home / SETTINGS_FILE).write_text(f"[nodes.PACS]\n{lines}\n")
    return Settings.load(home)


def test_a_table_with_a_url_is_a_node_of_the_web(tmp_path: Path) -> None:
    settings = load(tmp_path, 'url = "https://pacs.example.org"\ntoken_variable = "PACS_TOKEN"')
    assert isinstance(settings.nodes["PACS"], WebNode)
    settings = load(tmp_path, 'ae_title = "PACS"\nhost = "pacs.example.org"\nport = 104')
    assert isinstance(settings.nodes["PACS"], DimseNode)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('url = "ftp://pacs"', r"nodes\.PACS: The url of a DICOMweb node"),
        ('url = "https://pacs"\ntoken = "s3cr3t"', r"nodes\.PACS\.token: Unexpected"),
        ('host = "pacs"\nport = 104', r"nodes\.PACS\.ae_title: "),
        ('ae_title = "PACS"\nhost = "pacs"\nport = "x"', r"nodes\.PACS\.port: "),
    ],
)
def test_what_is_wrong_with_a_node_is_said_by_the_name_of_the_setting(
    tmp_path: Path, lines: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words) as raised:
        load(tmp_path, lines)
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize("files", [{"ca_file": "none.pem"}, {"client_certificate": "no.pem"}])
def test_certificates_that_cannot_be_read_are_said_before_anything_is_asked(
    tmp_path: Path, files: dict[str, str]
) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    given: dict[str, Any] = {name: tmp_path / file for name, file in files.items()}
    with pytest.raises(SettingsError, match="its certificate files"):
        WebNode("https://localhost", **given).echo()
