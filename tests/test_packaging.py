"""What an installation gets: the rooms' files, all of them, and a package that imports outside of a checkout."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import oscine

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ["models", "pretrain", "probe", "configs", "cli"]


def files(folder: str) -> set[str]:
    """The files of a folder of the checkout, relative to the checkout."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in found}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    # Without isolation: nothing is fetched, the build backend is one of the development tools.
    command = [sys.executable, "-m", "build", "--no-isolation", "-o", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installation would."""
    (archive,) = built.glob("*.whl")
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(archive).extractall(folder)
    return folder


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    return Parser().parsestr((wheel / f"oscine-{oscine.__version__}.dist-info" / "METADATA").read_text())


def test_the_wheel_holds_exactly_the_files_of_the_rooms(wheel):
    packed = {path.relative_to(wheel).as_posix() for path in (wheel / "oscine").rglob("*") if path.is_file()}
    rooms = {f"oscine/{name}" for room in ROOMS for name in files(room)}
    assert packed == rooms | {"oscine/__init__.py", "oscine/__main__.py", "oscine/py.typed"}


def test_the_wheel_holds_nothing_beside_the_package(wheel):
    assert sorted(path.name for path in wheel.iterdir()) == ["oscine", f"oscine-{oscine.__version__}.dist-info"]


def test_the_wheel_imports_outside_of_the_checkout(wheel, tmp_path):
    program = (
        "import oscine.cli, oscine.models, oscine.pretrain, oscine.probe; print(oscine.__file__); "
        "print(oscine.models.create_model('bird_mae_tiny', pretrained=True).provenance['model'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(wheel), "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(wheel / "oscine" / "__init__.py"), "bird_mae_tiny.esc10"]


def test_a_checkout_installs_as_a_link_to_itself(tmp_path):
    """`uv sync` and `pip install -e .` do it; both ask the build backend for this wheel."""
    command = [sys.executable, "-c", f"from hatchling.build import build_editable; build_editable({str(tmp_path)!r})"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.whl")
    links = zipfile.ZipFile(archive).read("_oscine.pth").decode().split()
    assert links == [str(ROOT / ".pkg")]


def test_the_source_distribution_holds_what_a_checkout_does(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        packed = {member.name.partition("/")[2] for member in tar if member.isfile()}
    expected = {name for folder in [*ROOMS, "docs", "tests", "benchmarks"] for name in files(folder)}
    assert expected <= packed
    assert {"README.md", "LICENSE", "CHANGELOG.md", "checkpoints.md", "pyproject.toml"} <= packed


def test_the_metadata_states_version_licence_and_python(wheel, metadata):
    assert metadata["Name"] == "oscine"
    assert metadata["Version"] == oscine.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    licence = wheel / f"oscine-{oscine.__version__}.dist-info" / "licenses" / "LICENSE"
    assert licence.read_bytes() == (ROOT / "LICENSE").read_bytes()


# Each pair was installed and the golden tests run on it; torchaudio says of itself that it takes any torch from 2.11 on.
LOADS = [("2.14.0", "2.11.1"), ("2.14.1", "2.11.1"), ("2.15.0", "2.11.1")]
DIES = [("2.11.0", "2.11.1"), ("2.12.1", "2.11.1"), ("2.15.0", "2.11.0")]


def test_torch_and_torchaudio_have_the_bounds_of_what_was_seen(metadata):
    rows = map(Requirement, metadata.get_all("Requires-Dist"))
    bounds = {row.name: row.specifier for row in rows}
    for pairs, fits in ((LOADS, True), (DIES, False)):
        for torch, torchaudio in pairs:
            assert (torch in bounds["torch"] and torchaudio in bounds["torchaudio"]) is fits, (torch, torchaudio)


def test_the_ranges_have_no_upper_end_that_shuts_out_other_packages(metadata):
    capped = {"huggingface-hub"}  # whose next major version may speak another protocol
    rows = map(Requirement, metadata.get_all("Requires-Dist"))
    assert {row.name for row in rows if "<" in str(row.specifier)} == capped


def test_a_checkout_installs_exact_versions_of_everything():
    """Of what oscine needs, and what that needs, each has one version in the rows that `.ci/pin` writes."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    rows = re.search(r"^constraint-dependencies = (\[$.*?^\])", text, re.MULTILINE | re.DOTALL)
    assert rows
    pinned = {}
    for row in map(Requirement, ast.literal_eval(rows[1])):
        assert re.fullmatch(r"==[^*]+", str(row.specifier)), row
        if row.marker is None or row.marker.evaluate():
            assert pinned.setdefault(canonicalize_name(row.name), row.specifier) == row.specifier
    assert needed("oscine", {"onnx", "search"}) <= pinned.keys()


def needed(name: str, extras: set[str]) -> set[str]:
    """The distributions that one needs here, directly and transitively."""
    found: set[str] = set()
    ahead = [(name, frozenset(extras))]
    done = set()
    while ahead:
        if (now := ahead.pop()) in done:
            continue
        done.add(now)
        for row in map(Requirement, importlib.metadata.requires(now[0]) or []):
            if row.marker is None or any(row.marker.evaluate({"extra": extra}) for extra in ("", *now[1])):
                found.add(canonicalize_name(row.name))
                ahead.append((row.name, frozenset(row.extras)))
    return found


def test_the_command_is_the_front_door(wheel):
    entry = (wheel / f"oscine-{oscine.__version__}.dist-info" / "entry_points.txt").read_text()
    assert entry.split() == ["[console_scripts]", "oscine", "=", "oscine.cli:main"]


def test_git_ignores_nothing_that_belongs_into_the_wheel():
    """What git ignores is left out of the wheel without a word."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    names = [name for room in ROOMS for name in [*files(room), f"{room}/any.py", f"{room}/any/any.yaml"]]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=ROOT,
        input="\n".join(names),
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("", 1)
