"""A node with TLS: both sides prove who they are, the way back too, and what is wrong is said in words."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.database import Catalog
from catalog.errors import DeliveryError, NodeUnavailableError, RefusedError, SettingsError
from workbench.pacs.deliver import deliver_to_all
from workbench.pacs.dimse_node import DimseNode
from workbench.pacs.posting import examine_files, queue_file
from workbench.settings import Settings

pytestmark = pytest.mark.pacs
NOW = datetime(2026, 1, 1, tzinfo=UTC)

type Peer = Any


@pytest.fixture(scope="module")
def secured(start_orthanc: Callable[..., Peer], keys: Path) -> Peer:
    """An Orthanc that speaks TLS alone, asks for certificates, and calls back with TLS."""
    peer = start_orthanc(
        DicomTlsEnabled=True, DicomTlsCertificate=str(keys / "known.pem"),
        DicomTlsPrivateKey=str(keys / "known.key"), DicomTlsTrustedCertificates=str(keys / "authority.pem"),
        DicomTlsRemoteCertificateRequired=True, use_tls=True,
    )  # fmt: skip
    node = replace(
        peer.node, tls=True, ca_file=keys / "authority.pem",
        client_certificate=keys / "bench.pem", client_key=keys / "bench.key",
    )  # fmt: skip
    return replace(peer, node=node)


def test_what_is_sent_with_TLS_is_committed_on_a_way_back_with_TLS_and_read_back(
    secured: Peer, objects: dict[str, Any], sqlite_catalog: Catalog, tmp_path: Path
) -> None:
    secured.node.echo()
    assert secured.node.place.endswith("with TLS")
    for each in examine_files(sqlite_catalog, [objects["SEG"].path, objects["CT"].path]):
        queue_file(sqlite_catalog, each, secured.node.name, outbox_folder=tmp_path / "outbox", now=NOW)
    receipts = deliver_to_all(
        sqlite_catalog, [secured.node], listen=secured.listen, now=lambda: NOW, wait=timedelta(seconds=30)
    )
    assert [each.state for each in receipts] == ["confirmed"] * 2
    assert all("committed" in [stage.name for stage in each.stages] for each in receipts)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"ca_file": "other.pem"}, RefusedError, "cannot be trusted"),
        ({"host": "localhost"}, RefusedError, "cannot be trusted"),
        ({"client_certificate": "stranger.pem", "client_key": "stranger.key"}, DeliveryError, "ORTHANC"),
        ({"client_certificate": None, "client_key": None}, DeliveryError, "ORTHANC"),
        (
            {"tls": False, "ca_file": None, "client_certificate": None, "client_key": None},
            NodeUnavailableError,
            "cannot be reached",
        ),
        ({"client_key": "authority.pem"}, SettingsError, "no certificates with their key"),
        ({"ca_file": "not-there.pem"}, SettingsError, "cannot be read"),
    ],
)
def test_19_who_is_not_trusted_gets_no_association(
    secured: Peer, keys: Path, changed: dict[str, Any], error: type[Exception], words: str
) -> None:
    files = {"ca_file", "client_certificate", "client_key"}
    changed = {name: keys / value if name in files and value else value for name, value in changed.items()}
    with pytest.raises(error, match=words):
        replace(secured.node, connection_seconds=5, **changed).echo()


def test_a_node_without_TLS_is_told_apart(pacs: Peer, keys: Path) -> None:
    node = replace(pacs.node, tls=True, ca_file=keys / "authority.pem", connection_seconds=5)
    with pytest.raises(DeliveryError, match=node.name):
        node.echo()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('ca_file = "a.pem"', "need tls = true"),
        ('tls = true\nclient_key = "a.key"', "belongs to a client_certificate"),
    ],
)
def test_settings_of_TLS_that_mean_nothing_are_refused(tmp_path: Path, lines: str, words: str) -> None:
    node = f'[nodes.A]\nae_title = "A"\nhost = "192.0.2.1"\nport = 2762\n{lines}\n'
    (tmp_path / "workbench.toml").write_text(node)
    with pytest.raises(SettingsError, match=words):
        Settings.load(tmp_path)


def test_a_node_with_TLS_stands_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "workbench.toml").write_text(
        '[nodes.A]\nae_title = "A"\nhost = "192.0.2.1"\nport = 2762\ntls = true\nca_file = "a.pem"\n'
        'client_certificate = "b.pem"\nclient_key = "b.key"\n'
    )
    node = Settings.load(tmp_path).nodes["A"]
    assert isinstance(node, DimseNode)
    assert (node.tls, node.client_key) == (True, Path("b.key"))
