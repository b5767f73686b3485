"""What every test gets: a home of its own, a clean environment, and the real OpenCode when it asks for it."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import hypothesis
import pytest

from tests.descriptors import open_descriptors, opened_since
from tests.ledger.harnesses import in_memory
from tests.ledgers import closing_ledgers, folders_in_use
from tests.scheduling import REAL, SharingModules, is_real, longest_first

OPENCODE_TIMEOUT_S: Final = 300
# read before any test's environment is cleaned
_ASKED_OPENCODE: Final = os.environ.get("MESHFLEET_OPENCODE")
_OWN_VARIABLES: Final = ("MESHFLEET_", "AGENT_MESH_", "OPENCODE")

# A shared machine may stall for a moment: slowness is pytest-timeout's to judge, not each example's.
hypothesis.settings.register_profile("meshfleet", deadline=None, print_blob=True)
hypothesis.settings.load_profile("meshfleet")


def pytest_configure() -> None:
    """Have programs that tests start heed signals, also where this one was started with nohup or in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of the real OpenCode time enough, and begin with what takes long."""
    for item in items:
        if item.get_closest_marker("opencode") is None:
            continue
        if not is_real(item.nodeid):
            raise pytest.UsageError(f"{item.nodeid} drives the real OpenCode; put it into a module called {REAL}*")
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(OPENCODE_TIMEOUT_S))
    items[:] = longest_first(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have the garbage collector look at what the tests make, and never at the tests: that was half of collecting them.

    Each worker collects thousands, none of which is garbage.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> SharingModules:
    """Share the tests out as tests.scheduling says, whatever --dist does."""
    return SharingModules(config, log)


@pytest.fixture(autouse=True, scope="module")
def nothing_left_open_by_a_module(request: pytest.FixtureRequest) -> Generator[None]:
    """Close the ledgers that a module's fixtures opened; whatever else they leave open is an error."""
    with _nothing_left_open(request):
        yield


@pytest.fixture(autouse=True)
def nothing_left_open(request: pytest.FixtureRequest) -> Generator[None]:
    """Close the ledgers that a test opened; whatever else it leaves open is an error.

    What the fixtures of a module hold was open before, since they are set up first; their ledgers move on all the same.
    """
    with _nothing_left_open(request):
        yield


@contextmanager
def _nothing_left_open(request: pytest.FixtureRequest) -> Generator[None]:
    before, failures = open_descriptors(), request.session.testsfailed
    with closing_ledgers():
        yield
    left = opened_since(before, but_below=folders_in_use())
    # a test that failed says why by itself, and may not have come to close what it opened
    if left and request.session.testsfailed == failures:
        pytest.fail(
            f"{request.node.nodeid} leaves descriptors open: {', '.join(left)}; close each where it was opened "
            "(tests.ledgers.ledger_at gives a ledger that the end of the test closes)",
            pytrace=False,
        )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the test's own HOME; no variable or configuration of the user's reaches the test."""
    for name in os.environ:
        if name.startswith(_OWN_VARIABLES):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name, below in {
        "XDG_CACHE_HOME": ".cache",
        "XDG_CONFIG_HOME": ".config",
        "XDG_DATA_HOME": ".local/share",
        "XDG_RUNTIME_DIR": ".run",
        "XDG_STATE_HOME": ".local/state",
    }.items():
        monkeypatch.setenv(name, str(folder / below))
    return folder


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A folder that lies in memory where there is room for it."""
    with in_memory(tmp_path_factory.mktemp("no-memory")) as folder:
        yield folder


@pytest.fixture
def ledger_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return where the test's own ledger may be; nothing is there yet but the folder."""
    folder = tmp_path / "ledger"
    if request.node.get_closest_marker("in_memory"):
        folder = request.getfixturevalue("memory") / tmp_path.name / "ledger"
    folder.mkdir(parents=True)
    return folder / "agent-mesh.json"


@pytest.fixture
def anyio_backend() -> str:
    """Run tests marked anyio on asyncio, which is what the server runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def opencode_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the real OpenCode; where there is none the test fails, since a skipped proof proves nothing."""
    beside_python = Path(sys.executable).with_name("opencode")
    found = _ASKED_OPENCODE or shutil.which("opencode") or str(beside_python)
    clean_home = {**os.environ, "HOME": str(tmp_path_factory.mktemp("opencode-home"))}
    try:
        subprocess.run([found, "--version"], env=clean_home, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.fail(f"no working opencode: {error}; run make setup, or name one in MESHFLEET_OPENCODE")
    return Path(shutil.which(found) or found).absolute()
