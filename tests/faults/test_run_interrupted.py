"""Ctrl-C reaches every process of a terminal's group; a run ends, says so, and goes on next time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import phantoms

STEP = """
import time
from pathlib import Path

def slow(volume, *, folder):
    Path(folder, str(volume.attrs["series_instance_uid"])).touch()
    if not Path(folder, "quick").exists() and len(list(Path(folder).iterdir())) > 1:
        time.sleep(60)
    return 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of process groups are of POSIX")
def test_37_a_run_ends_at_ctrl_c_and_goes_on_from_there(tmp_path: Path) -> None:
    for each in range(3):
        phantoms.write_series(tmp_path / "archive" / str(each), planes=3, rows=4, columns=4, seed=each)
    (tmp_path / "steps.py").write_text(STEP)
    (begun := tmp_path / "begun").mkdir()
    home = ["--home", str(tmp_path / "bench")]
    environment = {name: text for name, text in os.environ.items() if name != "WORKBENCH_SCHEDULER"}
    environment["WORKBENCH_THREADS"] = "2"
    workbench = [sys.executable, "-m", "workbench"]
    subprocess.run([*workbench, "index", str(tmp_path / "archive"), *home], env=environment, check=True)
    command = [*workbench, "run", f"{tmp_path}/steps.py:slow", "-p", f"folder={begun}", *home]
    run = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240  # a cluster starts in seconds, on a busy machine in more
    while len(list(begun.iterdir())) < 2:
        assert time.monotonic() < deadline, "no step began"
        time.sleep(0.05)  # the step of another process is waited for
    os.killpg(run.pid, signal.SIGINT)
    said, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert "stopped early, the same command goes on from there" in said
    assert "Traceback" not in errors, errors
    (begun / "quick").touch()
    again = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["succeeded"] == 3
