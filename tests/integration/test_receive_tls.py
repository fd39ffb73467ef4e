"""With TLS both sides prove who they are: a caller is known by its certificate, others are not answered."""

import hashlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt

from catalog.identifiers import new_uid
from pipelines import phantoms
from tests.peers.calling import make_prompt
from workbench.pacs.sop_classes import STUDY_ROOT_GET

pytestmark = pytest.mark.pacs

CT = UID("1.2.840.10008.5.1.4.1.1.2")


@pytest.fixture(scope="module")
def receiving(start_receive: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Any:
    home = tmp_path_factory.mktemp("bench")
    held = ssl.PEM_cert_to_DER_cert((keys / "known.pem").read_text())
    (home / "workbench.toml").write_text(
        f'tls_certificate = "{keys}/bench.pem"\ntls_key = "{keys}/bench.key"\n'
        f'tls_authorities = "{keys}/authority.pem"\n'
        f'[nodes.A]\nae_title = "A"\nhost = "192.0.2.1"\nport = 104\n'
        f'may = ["store", "retrieve"]\ncertificate = "{hashlib.sha256(held).hexdigest()}"\n'
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
def test_19_a_caller_is_known_by_its_certificate(
    receiving: Any,
    keys: Path,
    missing: Callable[[str], NoReturn],
    tmp_path: Path,
    calling: str,
    caller: str | None,
    is_answered: bool,
) -> None:
    program = shutil.which("storescu", path="/usr/bin")
    if program is None:
        missing("storescu is not there: apt-get install dcmtk, or as root tests/install_system.sh")
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


def test_what_is_retrieved_goes_through_TLS_while_answers_come(
    receiving: Any, keys: Path, tmp_path: Path
) -> None:
    ct = phantoms.write_series(tmp_path / "ct", planes=40, rows=256, columns=256, study=new_uid())
    ae = AE("A")
    ae.add_requested_context(STUDY_ROOT_GET)
    ae.add_requested_context(CT, ExplicitVRLittleEndian)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(keys / "authority.pem")
    context.check_hostname = False
    context.load_cert_chain(keys / "known.pem", keys / "known.key")
    came: dict[str, bytes] = {}

    def keep(event: Any) -> int:
        came[str(event.request.AffectedSOPInstanceUID)] = event.encoded_dataset(include_meta=False)
        return 0x0000

    def associated(*roles: Any) -> Any:
        made = ae.associate(
            "127.0.0.1", receiving.port, ae_title="WORKBENCH", tls_args=(context, "127.0.0.1"),
            ext_neg=list(roles), evt_handlers=[(evt.EVT_C_STORE, keep), (evt.EVT_CONN_OPEN, make_prompt)],
        )  # fmt: skip
        assert made.is_established
        return made

    association = associated()
    for path in ct.paths:
        assert association.send_c_store(path).Status == 0x0000
    association.release()
    receiving.settle()
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = pydicom.dcmread(ct.paths[0]).StudyInstanceUID
    association = associated(build_role(CT, scp_role=True))
    answers = list(association.send_c_get(identifier, STUDY_ROOT_GET))
    association.release()
    assert answers[-1][0].Status == 0x0000
    sent = {uid: path.read_bytes() for uid, path in zip(ct.sop_instance_uids, ct.paths, strict=True)}
    assert came.keys() == sent.keys()
    assert all(sent[uid].endswith(came[uid]) for uid in sent)


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
