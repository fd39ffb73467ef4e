"""What the README shows is what happens."""

import os
import re
import subprocess
import sys
from pathlib import Path

from pipelines import phantoms
from workbench.pacs.embedded import start
from workbench.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()

TOML = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def test_every_example_of_settings_can_be_read(tmp_path: Path) -> None:
    nodes, limits, routes = TOML
    # what belongs to the top stands first
    (tmp_path / "workbench.toml").write_text(f"{routes}\n{nodes}\n{limits}")
    settings = Settings.load(tmp_path)
    assert list(settings.nodes) == ["PACS", "ARCHIVE"]
    assert settings.nodes["PACS"].limits.associations == 2
    assert settings.routes[0].name == "localizers stay"


def test_the_python_example_runs_as_a_script_on_the_default_cluster(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    distances = {"planes": 12, "distance": 2.0, "radius_mm": 5.0}
    phantoms.write_series(tmp_path / "archive", **distances, noise=0.0, intercept=-1023.0)
    (script := tmp_path / "example.py").write_text(
        f"{example}\nimport sys\nsys.stdout.write('/'.join(each.state for each in receipts))\n"
    )
    home = tmp_path / "bench"
    home.mkdir()
    with start(tmp_path / "pacs", ae_title="ARCHIVE") as pacs:
        toml = TOML[0].replace("pacs.example.org", "127.0.0.1").replace('"PACS"', '"ARCHIVE"')
        (home / "workbench.toml").write_text(re.sub(r"port = \d+", f"port = {pacs.node.port}", toml))
        done = subprocess.run(
            [sys.executable, script],
            capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path,
            env={**os.environ, "WORKBENCH_HOME": str(home)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "confirmed/confirmed"
    assert "Traceback" not in done.stderr


def test_every_file_the_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
