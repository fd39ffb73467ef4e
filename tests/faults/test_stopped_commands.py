"""26, 37: commands whose output finds no room, or that somebody stops, say so in words."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.peers.answering import answering

WORKBENCH = [sys.executable, "-m", "workbench"]
FIND = ["find", "PEER", "study", "PatientID=7"]


def homed(home: Path, port: int) -> list[str]:
    home.mkdir(exist_ok=True)
    (home / "workbench.toml").write_text(
        f'[nodes.PEER]\nae_title = "ANSWERING"\nhost = "127.0.0.1"\nport = {port}\n'
    )
    return ["--home", str(home)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
def test_26_what_finds_no_room_for_its_output_says_so(tmp_path: Path) -> None:
    found = Dataset()
    found.StudyInstanceUID, found.PatientID = "1.2.3", "7"
    with answering([found]) as peer:
        home = homed(tmp_path / "bench", peer.node.port)
        for command in (FIND, ["worklist", "PEER"], ["route", "--once"]):
            with Path("/dev/full").open("w") as full:
                done = subprocess.run(
                    [*WORKBENCH, *command, *home], stdout=full, stderr=subprocess.PIPE, text=True, check=False
                )
            words = "workbench: the output cannot be written: no space left on device\n"
            assert (done.returncode, done.stderr) == (1, words), command


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is of POSIX")
def test_37_a_question_to_a_silent_node_ends_at_ctrl_c(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        home = homed(tmp_path / "bench", silent.getsockname()[1])
        asking = subprocess.Popen(
            [*WORKBENCH, *FIND, *home], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        silent.settimeout(60)
        wire, _ = silent.accept()
        with wire:
            wire.settimeout(60)
            assert wire.recv(1), "it asks for an association"
            asking.send_signal(signal.SIGINT)
            said, errors = asking.communicate(timeout=30)
    assert (asking.returncode, said, errors) == (130, "", "workbench: stopped\n")
