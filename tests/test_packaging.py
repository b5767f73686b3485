"""What people install: the wheel's contents, its version, and pins that hold wherever we say they do."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import meshfleet

REPOSITORY = Path(__file__).parents[1]
CONSTRAINTS = REPOSITORY / "constraints.txt"
SYSTEMS = {
    "Linux": {"sys_platform": "linux", "os_name": "posix"},
    "Darwin": {"sys_platform": "darwin", "os_name": "posix"},
}


def constraint_lines() -> list[str]:
    return [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]


def pinned_versions() -> dict[str, Version]:
    pins = [line.split("==") for line in constraint_lines()]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def needed(environment: dict[str, str]) -> dict[str, list[Requirement]]:
    """Return by name what meshfleet[dev] needs in an environment, from installed packages' metadata."""
    found: dict[str, list[Requirement]] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(f"meshfleet[{extra}]", "meshfleet", extra) for extra in ("", "dev")]
    while waiting:
        _, name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # needed elsewhere only; that it is pinned is asserted all the same
        for requirement in map(Requirement, lines):
            if requirement.marker and not requirement.marker.evaluate({**environment, "extra": extra}):
                continue
            wanted = canonicalize_name(requirement.name)
            found.setdefault(wanted, []).append(requirement)
            waiting += [(str(requirement), wanted, of) for of in ("", *requirement.extras)]
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (built,) = folder.glob("*.whl")
    return ZipFile(built)


def test_the_wheel_holds_every_module_and_the_marker_that_it_is_typed(wheel: ZipFile) -> None:
    sources = {
        str(path.relative_to(REPOSITORY / "src"))
        for path in (REPOSITORY / "src/meshfleet").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert "meshfleet/py.typed" in packed
    assert packed == sources


def test_the_wheel_brings_the_command_the_licence_and_the_version(wheel: ZipFile) -> None:
    information = f"meshfleet-{meshfleet.__version__}.dist-info"
    assert "meshfleet = meshfleet.cli:main" in wheel.read(f"{information}/entry_points.txt").decode()
    assert "MIT License" in wheel.read(f"{information}/licenses/LICENSE").decode()
    assert f"\nVersion: {meshfleet.__version__}\n" in wheel.read(f"{information}/METADATA").decode()


def test_importing_the_version_imports_nothing_else_of_ours_and_no_library() -> None:
    code = "import sys; before = set(sys.modules); import meshfleet; print(*set(sys.modules) - before)"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert set(answer.stdout.split()) - sys.stdlib_module_names == {"meshfleet"}


def test_constraints_are_names_and_versions_without_addresses_or_hashes() -> None:
    lines = constraint_lines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []
    assert len(pinned_versions()) == len(lines)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_constraints_pin_whatever_an_installation_needs(system: str, python: str) -> None:
    environment = {
        **SYSTEMS[system],
        "platform_system": system,
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    pinned = pinned_versions()
    requirements = needed(environment)
    assert {"mcp", "textual", "pytest", "hatchling"} <= set(requirements)
    assert sorted(set(requirements) - set(pinned)) == []
    refused = [
        f"{requirement} (pinned {pinned[name]})"
        for name, asked in requirements.items()
        for requirement in asked
        if not requirement.specifier.contains(pinned[name], prereleases=True)
    ]
    assert refused == []


def test_this_environment_is_the_pinned_one() -> None:
    installed = {canonicalize_name(found.name): Version(found.version) for found in metadata.distributions()}
    pinned = pinned_versions()
    other = {name: found for name, found in installed.items() if name in pinned and found != pinned[name]}
    assert other == {}


def test_python_versions_are_stated_alike_everywhere() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    named = [text.rpartition(" ")[2] for text in project["classifiers"] if re.search(r":: 3\.\d+$", text)]
    assert named[0] == oldest
    tried = re.findall(r"python(3\.\d+)", (REPOSITORY / "scripts/find-python").read_text())
    assert tried == named[::-1]
