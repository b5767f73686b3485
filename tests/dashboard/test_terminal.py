"""The dashboard in a real terminal, tmux, as a person has it."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from meshfleet.model import new_id
from tests.dashboard.meshes import write_mesh

PATIENCE_S: Final = 30.0
_COOKED: Final = termios.ICANON | termios.ECHO | termios.ISIG
"""How a terminal that no program has for itself treats keys: a line at a time, shown, ctrl+c ends."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux"),
]


class Terminal:
    """A tmux server of its own with one window of 80x24 columns."""

    def __init__(self) -> None:
        # a socket's path may not be long
        self._socket = f"meshfleet-{new_id()[:8]}"

    def run(self, command: str) -> None:
        # whoever tells a program of a size by these keeps it from seeing another one
        unwanted = {"TMUX", "NO_COLOR", "COLUMNS", "LINES"}
        environ = {name: value for name, value in os.environ.items() if name not in unwanted}
        arguments = ["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", command]
        subprocess.run(["tmux", "-L", self._socket, *arguments], env=environ, check=True, timeout=PATIENCE_S)

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def wait_for(self, holds: Callable[[str], bool]) -> str:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            screen = self.screen()
            if holds(screen):
                return screen
            time.sleep(0.05)
        pytest.fail(f"the terminal did not come to show it:\n{screen}")

    def resize(self, columns: int, lines: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def is_as_it_was(self) -> bool:
        """Whether a program that has ended gave back the screen, the cursor, the mouse and what keys do."""
        flags = self._tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}").split()
        name = self._tmux("display-message", "-p", "#{pane_tty}").strip()
        terminal = os.open(name, os.O_RDWR | os.O_NOCTTY)
        try:
            local_modes = termios.tcgetattr(terminal)[3]
        finally:
            os.close(terminal)
        return flags == ["0", "1", "0"] and local_modes & _COOKED == _COOKED

    def end(self) -> None:
        subprocess.run(
            ["tmux", "-L", self._socket, "kill-server"], check=False, capture_output=True, timeout=PATIENCE_S
        )

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-L", self._socket, *arguments], check=True, capture_output=True, text=True, timeout=PATIENCE_S
        ).stdout


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    found = Terminal()
    yield found
    found.end()


def begin(terminal: Terminal, ledger_file: Path, folder: Path, **environ: str) -> Path:
    """Start the dashboard; its process's id is written to `pid`, and its exit code to the file that is returned."""
    left = folder / "left"
    program = shlex.join([sys.executable, "-P", "-m", "meshfleet", "dashboard"])
    told = {"MESHFLEET_DATA_FILE": str(ledger_file), **environ}
    variables = " ".join(shlex.quote(f"{name}={value}") for name, value in told.items())
    pid, end = (shlex.quote(str(file)) for file in (folder / "pid", left))
    terminal.run(f"sh -c 'echo $$ >\"$0\"; exec env {variables} {program}' {pid}; echo $? >{end}; cat")
    return left


def test_it_is_looked_at_gone_about_in_resized_and_left(terminal: Terminal, ledger_file: Path, tmp_path: Path) -> None:
    write_mesh(ledger_file)
    left = begin(terminal, ledger_file, tmp_path)

    terminal.wait_for(lambda screen: "1 problems 5" in screen and "Reviewer" in screen)
    terminal.press("2")
    terminal.wait_for(lambda screen: "nightly crawl" in screen and "TOKENS" in screen)
    terminal.press("Enter")
    terminal.wait_for(lambda screen: "MAIL" in screen and "Reviewer" in screen)
    terminal.press("Down", "Enter")
    screen = terminal.wait_for(lambda screen: "The discount is in till.py." in screen)
    assert screen.splitlines()[0].split()[::2][:3] == ["fleets", "checkout", "Analyst"]
    terminal.resize(120, 40)
    terminal.wait_for(lambda screen: len(screen.splitlines()) == 40 and "previous" in screen)
    terminal.press("Escape")
    terminal.wait_for(lambda screen: "Engineer" in screen and "stalled" in screen)
    terminal.press("q")
    terminal.wait_for(lambda _: left.exists() and bool(left.read_text().strip()))
    assert left.read_text().strip() == "0"
    assert terminal.is_as_it_was()


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_whoever_ends_it_the_terminal_is_as_it_was(
    terminal: Terminal, ledger_file: Path, tmp_path: Path, which: signal.Signals
) -> None:
    write_mesh(ledger_file)
    left = begin(terminal, ledger_file, tmp_path)
    terminal.wait_for(lambda screen: "Reviewer" in screen)
    os.kill(int((tmp_path / "pid").read_text()), which)
    terminal.wait_for(lambda _: left.exists() and bool(left.read_text().strip()))
    assert left.read_text().strip() == str(128 + which)
    assert terminal.is_as_it_was()


def test_it_ends_when_its_terminal_is_closed(terminal: Terminal, ledger_file: Path, tmp_path: Path) -> None:
    write_mesh(ledger_file)
    begin(terminal, ledger_file, tmp_path)
    terminal.wait_for(lambda screen: "Reviewer" in screen)
    pid = int((tmp_path / "pid").read_text())
    terminal.end()
    end = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_it_ends_when_a_terminal_is_gone_that_tells_nobody(ledger_file: Path) -> None:
    write_mesh(ledger_file)
    ours, its = os.openpty()
    termios.tcsetwinsize(its, (24, 80))
    environ = {**os.environ, "MESHFLEET_DATA_FILE": str(ledger_file), "TERM": "xterm"}
    # in a session of its own, of which this is not the terminal: no signal comes when it goes
    dashboard = subprocess.Popen(
        [sys.executable, "-P", "-m", "meshfleet", "dashboard"],
        env=environ,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    drawn = b""
    while b"Reviewer" not in drawn:
        assert select.select([ours], [], [], PATIENCE_S)[0], drawn
        drawn += os.read(ours, 65_536)
    os.close(ours)
    try:
        assert dashboard.wait(PATIENCE_S) == 128 + signal.SIGHUP
    finally:
        dashboard.kill()
        dashboard.wait(PATIENCE_S)


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(terminal: Terminal, ledger_file: Path, tmp_path: Path) -> None:
    write_mesh(ledger_file)
    left = begin(terminal, ledger_file, tmp_path)
    terminal.wait_for(lambda screen: "Reviewer" in screen)
    pid = int((tmp_path / "pid").read_text())
    terminal.press("C-z")
    terminal.wait_for(lambda _: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    assert terminal.is_as_it_was()
    os.kill(pid, signal.SIGCONT)
    terminal.wait_for(lambda screen: "Reviewer" in screen and "1 problems 5" in screen)
    terminal.press("q")
    terminal.wait_for(lambda _: left.exists() and left.read_text().strip() == "0")


def test_what_the_terminal_s_encoding_has_not_takes_the_room_of_one_sign(
    terminal: Terminal, ledger_file: Path, tmp_path: Path
) -> None:
    write_mesh(ledger_file)
    begin(terminal, ledger_file, tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    terminal.wait_for(lambda screen: "Reviewer" in screen)
    terminal.press("2")
    screen = terminal.wait_for(lambda screen: "nightly crawl" in screen)
    assert "? complete      ?????-----" in screen
    assert "COST TOKENS" in screen.splitlines()[2]


def test_a_terminal_that_can_not_be_drawn_on_gets_it_once_as_text(
    terminal: Terminal, ledger_file: Path, tmp_path: Path
) -> None:
    write_mesh(ledger_file)
    left = begin(terminal, ledger_file, tmp_path, TERM="dumb")
    terminal.wait_for(lambda screen: left.exists() and left.read_text() == "0\n" and "5 messages" in screen)
    assert terminal.is_as_it_was()
