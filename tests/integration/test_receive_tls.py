"""With TLS both sides prove who they are: a caller is known by its certificate, others are not answered."""

import hashlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pipelines import phantoms

pytestmark = pytest.mark.pacs


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Path:
    """An authority with certificates of the bench and of two callers, and a caller of another authority."""
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("openssl is not there: apt-get install openssl")
    folder = tmp_path_factory.mktemp("keys")

    def run(*arguments: str) -> None:
        subprocess.run([str(openssl), *arguments], check=True, capture_output=True, cwd=folder)

    for authority in ("authority", "other"):
        run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={authority}",
            "-keyout", f"{authority}.key", "-out", f"{authority}.pem")  # fmt: skip
    for name, authority in (
        ("bench", "authority"), ("known", "authority"), ("unlisted", "authority"), ("stranger", "other"),
    ):  # fmt: skip
        run("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1",
            "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        run("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-days", "1", "-out", f"{name}.pem")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def receiving(start_receive: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Any:
    home = tmp_path_factory.mktemp("bench")
    held = ssl.PEM_cert_to_DER_cert((keys / "known.pem").read_text())
    (home / "workbench.toml").write_text(
        f'tls_certificate = "{keys}/bench.pem"\ntls_key = "{keys}/bench.key"\n'
        f'tls_authorities = "{keys}/authority.pem"\n'
        f'[nodes.A]\nae_title = "A"\nhost = "192.0.2.1"\nport = 104\n'
        f'certificate = "{hashlib.sha256(held).hexdigest()}"\n'
    )
    return start_receive(home, "--host", "0.0.0.0", anyone=False)


@pytest.mark.parametrize(
    ("calling", "caller", "is_answered"),
    [
        ("A", "known", True),
        ("B", "known", False),
        ("A", "unlisted", False),
        ("A", "stranger", False),
        ("A", None, False),
    ],
)
def test_a_caller_is_known_by_its_certificate(
    receiving: Any, keys: Path, tmp_path: Path, calling: str, caller: str | None, is_answered: bool
) -> None:
    program = shutil.which("storescu", path="/usr/bin")
    if program is None:
        pytest.skip("storescu is not there: apt-get install dcmtk")
    tls = (
        ["+tls", str(keys / f"{caller}.key"), str(keys / f"{caller}.pem")] if caller is not None else ["-tls"]
    )
    if caller is not None:
        tls += ["+cf", str(keys / "authority.pem")]
    ct = phantoms.write_series(tmp_path / "ct", planes=2)
    done = subprocess.run(
        [program, *tls, "-aet", calling, "-aec", "WORKBENCH", "127.0.0.1", str(receiving.port), *ct.paths],
        capture_output=True, text=True, timeout=60, env={"TCP_NODELAY": "1"},
    )  # fmt: skip
    assert (done.returncode == 0) == is_answered, done.stderr


def test_TLS_is_1_2_or_later_and_a_silent_handshake_holds_up_nobody(receiving: Any, keys: Path) -> None:
    silent = socket.create_connection(("127.0.0.1", receiving.port))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(keys / "authority.pem")
    context.check_hostname = False
    context.load_cert_chain(keys / "known.pem", keys / "known.key")
    with (
        socket.create_connection(("127.0.0.1", receiving.port), timeout=20) as wire,
        context.wrap_socket(wire) as secured,
    ):
        assert secured.version() in ("TLSv1.2", "TLSv1.3")
    silent.close()
