"""The folder a demo runs in: a project with something to find, a HOME, and the server's environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshfleet.demo.scripted_model import opencode_config

PROJECT_FILES: Final[Mapping[str, str]] = {
    "README.md": """\
# till

Adds up what a basket costs.

## The promise

An order of 100.00 or more gets 10 % off.
""",
    "till.py": '''\
"""Add up what a basket costs."""

DISCOUNT_FROM = 100.00
DISCOUNT = 0.10


def total(prices):
    """The sum to pay, with the discount that README.md promises."""
    amount = sum(prices)
    if amount > DISCOUNT_FROM:
        amount -= amount * DISCOUNT
    return round(amount, 2)
''',
    "check_till.py": '''\
"""Say whether the till keeps its promise: python check_till.py"""

from till import total

assert total([20.00, 30.00]) == 50.00
assert total([80.00, 70.00]) == 135.00
assert total([60.00, 40.00]) == 90.00, "an order of exactly 100.00 gets no discount"
print("the till keeps its promise")
''',
}

_XDG_FOLDERS: Final[Mapping[str, str]] = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
}
#: What of the caller's environment would change the demo; a proxy would be asked for the scripted model.
_UNWANTED: Final = ("AGENT_MESH_", "MESHFLEET_", "OPENCODE", "XDG_")
#: The demo's folder lies in one that others may write to; what OpenCode finds above a project is not the demo's.
_NOTHING_FROM_ABOVE: Final = {"OPENCODE_DISABLE_PROJECT_CONFIG": "1"}
_PROXIES: Final = frozenset({"all_proxy", "http_proxy", "https_proxy"})
#: Every start of OpenCode would look for this package, which only plugins need, and try to install it.
_PLUGIN_PACKAGE: Final = "@opencode-ai/plugin"
#: Which OpenCode to run is the caller's to say, also here.
_KEPT: Final = frozenset({"MESHFLEET_OPENCODE"})


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """The places of one demo, all below `root`.

    Attributes:
        project: where the agents work, and the server's working directory.
        home: the HOME of scripted agents; a live demo leaves it empty.
        temporary: for what OpenCode leaves behind, 5.6 MB with every run.
        ledger: the file meshfleet keeps its ledger in.
    """

    root: Path
    project: Path
    home: Path
    temporary: Path
    ledger: Path

    @property
    def server_log(self) -> Path:
        """What the demo's meshfleet server writes to stderr."""
        return self.root / "server.log"


def create_demo_folder(root: Path) -> DemoFolder:
    """Make the folders below the existing `root` and write the project's files."""
    root = root.resolve()
    folder = DemoFolder(
        root=root,
        project=root / "project",
        home=root / "home",
        temporary=root / "tmp",
        ledger=root / "ledger" / "agent-mesh.json",
    )
    for path in (folder.project, folder.home, folder.temporary, folder.ledger.parent):
        path.mkdir()
    for name, text in PROJECT_FILES.items():
        (folder.project / name).write_text(text, encoding="utf-8")
    return folder


def scripted_environment(folder: DemoFolder, base_url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Configure the demo's HOME for the model at `base_url`; the environment in which OpenCode finds it."""
    config = folder.home / ".config" / "opencode" / "opencode.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(opencode_config(base_url), indent=2) + "\n", encoding="utf-8")
    _have_nothing_installed(config.parent)
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or not (name.startswith(_UNWANTED) or name.lower() in _PROXIES)
    }
    return {
        **kept,
        **_python_path(environ),
        "HOME": str(folder.home),
        **_working_directory(folder),
        **{name: str(folder.home / below) for name, below in _XDG_FOLDERS.items()},
        "TMPDIR": str(folder.temporary),
        "BUN_TMPDIR": str(folder.temporary),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        **_NOTHING_FROM_ABOVE,
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        # an OpenCode of another version may want to install something all the same: not over the network
        "npm_config_offline": "true",
        "MESHFLEET_DATA_FILE": str(folder.ledger),
    }


def _have_nothing_installed(folder: Path) -> None:
    """Make it look as if what OpenCode installs beside a configuration were there."""
    (folder / "node_modules").mkdir()
    lock = {"packages": {"": {"dependencies": {_PLUGIN_PACKAGE: "*"}}}}
    (folder / "package-lock.json").write_text(json.dumps(lock) + "\n", encoding="utf-8")


def live_environment(folder: DemoFolder, environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's own environment, OpenCode configuration and model; only the ledger is the demo's."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or not name.startswith(("AGENT_MESH_", "MESHFLEET_"))
    }
    return {
        **kept,
        **_python_path(environ),
        **_NOTHING_FROM_ABOVE,
        **_working_directory(folder),
        "BUN_TMPDIR": str(folder.temporary),
        "MESHFLEET_DATA_FILE": str(folder.ledger),
    }


def _python_path(environ: Mapping[str, str]) -> dict[str, str]:
    # the server runs in the demo's project, where a relative path would lead elsewhere
    entries = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return {"PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in entries)} if entries else {}


def _working_directory(folder: DemoFolder) -> dict[str, str]:
    # OpenCode believes PWD more than the directory it was really started in
    return {"PWD": str(folder.project)}
