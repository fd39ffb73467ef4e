"""Puts the built viewer and the server's configuration where Jupyter looks for them."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_HERE = Path(__file__).parent
_NAME = "imaging-workbench"


class Viewer(BuildHookInterface[Any]):
    """A wheel has the viewer, so whoever installs it needs no Node; a checkout has a link."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to what is built."""
        if self.target_name != "wheel":
            return
        shared = build_data["shared_data"]
        shared[str(_HERE / "server.json")] = f"etc/jupyter/jupyter_server_config.d/{_NAME}.json"
        if version == "editable":
            return
        if not (_HERE / "built" / "package.json").is_file():
            raise RuntimeError("the viewer is not built: install Node.js 20 or newer, then run `make viewer`")
        shared[str(_HERE / "built")] = f"share/jupyter/labextensions/{_NAME}"
