"""What can be reached of a bench that nobody set up, and who gets in by TLS."""

import hashlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.peers.caller import client_tls
from workbench.pacs import embedded

LISTENING = "0A"


def listeners(pid: int) -> set[str]:
    """Addresses of this machine that a process listens on, as Linux lists them."""
    held = {each.readlink().name for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTENING and f"socket:[{columns[9]}]" in held:
                raw = bytes.fromhex(columns[1].partition(":")[0])
                words = [raw[at : at + 4][::-1] for at in range(0, len(raw), 4)]
                found.add(socket.inet_ntop(family, b"".join(words)))
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="listeners are listed as Linux lists them")
def test_18_what_nobody_set_up_listens_on_this_machine_alone(
    start_receive: Callable[..., Any], tmp_path: Path
) -> None:
    receiving = start_receive(tmp_path / "bench")
    assert listeners(receiving.process.pid) == {"127.0.0.1"}
    with embedded.start(tmp_path / "pacs") as pacs:
        assert listeners(pacs.process.pid) == {"127.0.0.1"}


def test_18_a_bench_that_nobody_set_up_answers_nobody(tmp_path: Path) -> None:
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "workbench", "receive", "--home", tmp_path, "--port", "0"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "nobody may send to this bench: name who may" in done.stderr


# --- TLS (PS3.15 annex B) --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured(start_receive: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Any:
    home = tmp_path_factory.mktemp("bench")
    held = ssl.PEM_cert_to_DER_cert((keys / "known.pem").read_text())
    (home / "workbench.toml").write_text(
        f'tls_certificate = "{keys}/bench.pem"\ntls_key = "{keys}/bench.key"\n'
        f'tls_authorities = "{keys}/authority.pem"\n'
        f'[nodes.A]\nae_title = "A"\nhost = "192.0.2.1"\nport = 104\n'
        f'certificate = "{hashlib.sha256(held).hexdigest()}"\n'
    )
    return start_receive(home, anyone=False)


def shaken(port: int, context: ssl.SSLContext) -> str:
    """Shake hands and wait for what the other side says of it: the version, or why not."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as wire,
            context.wrap_socket(wire) as secured,
        ):
            wire = secured
            wire.settimeout(1.0)
            try:
                wire.recv(1)  # with TLS 1.3 a refused certificate is told after the handshake
            except TimeoutError:
                return str(secured.version())
            return "closed"
    except ssl.SSLError as error:
        return error.reason or "refused"
    except ConnectionError:
        return "closed"


def test_19_a_known_certificate_is_met_with_TLS_1_2_and_1_3(secured: Any, keys: Path) -> None:
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        context = client_tls(keys)
        context.minimum_version = context.maximum_version = version
        assert shaken(secured.port, context) == name


def test_19_TLS_1_1_is_refused_by_the_bench(secured: Any, keys: Path) -> None:
    context = client_tls(keys)
    context.set_ciphers("ALL:@SECLEVEL=0")  # else this side would refuse it
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert shaken(secured.port, context) == "TLSV1_ALERT_PROTOCOL_VERSION"


@pytest.fixture(scope="module")
def expired(keys: Path) -> str:
    """A certificate of the right authority whose time is over; and its name among the keys."""
    openssl = str(shutil.which("openssl"))

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], check=True, capture_output=True, cwd=keys)

    run("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1",
        "-keyout", "expired.key", "-out", "expired.csr")  # fmt: skip
    (keys / "index").touch()
    (keys / "ca.conf").write_text(
        "[ca]\ndefault_ca=it\n[it]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\n"
        "policy=any\n[any]\ncommonName=supplied\n"
    )
    run("ca", "-batch", "-config", "ca.conf", "-in", "expired.csr", "-out", "expired.pem", "-notext",
        "-cert", "authority.pem", "-keyfile", "authority.key",
        "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")  # fmt: skip
    return "expired"


def test_19_an_expired_certificate_is_refused(secured: Any, keys: Path, expired: str) -> None:
    assert "EXPIRED" in shaken(secured.port, client_tls(keys, expired))


@pytest.mark.parametrize(("name", "words"), [("stranger", "UNKNOWN_CA"), (None, "CERTIFICATE_REQUIRED")])
def test_19_who_does_not_prove_who_it_is_is_refused(
    secured: Any, keys: Path, name: str | None, words: str
) -> None:
    if name is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(keys / "authority.pem")
        context.check_hostname = False
    else:
        context = client_tls(keys, name)
    assert words in shaken(secured.port, context)


def test_19_who_speaks_in_the_clear_to_a_port_of_TLS_is_not_answered(secured: Any) -> None:
    with socket.create_connection(("127.0.0.1", secured.port), timeout=20) as wire:
        wire.sendall(b"\x01\x00\x00\x00\x00\x44" + bytes(68))
        try:
            answer = wire.recv(100)
        except ConnectionError:
            answer = b""
        assert answer[:1] in (b"", b"\x15"), "an alert of TLS at most"
