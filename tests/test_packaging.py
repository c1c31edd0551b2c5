"""What an installation gets: the rooms' files, all of them, and a package that imports outside of a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

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


def test_the_source_distribution_holds_what_a_checkout_does(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        packed = {member.name.partition("/")[2] for member in tar if member.isfile()}
    expected = {name for folder in [*ROOMS, "tests", "benchmarks"] for name in files(folder)}
    assert expected <= packed
    assert {"README.md", "LICENSE", "CHANGELOG.md", "checkpoints.md", "pyproject.toml"} <= packed


def test_the_metadata_states_version_licence_and_python(wheel, metadata):
    assert metadata["Name"] == "oscine"
    assert metadata["Version"] == oscine.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    licence = wheel / f"oscine-{oscine.__version__}.dist-info" / "licenses" / "LICENSE"
    assert licence.read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_torch_and_torchaudio_share_their_bounds(metadata):
    bounds = {}
    for requirement in metadata.get_all("Requires-Dist"):
        name = requirement.partition("<")[0].partition(">")[0]
        bounds[name] = requirement.removeprefix(name)
    assert bounds["torch"] == bounds["torchaudio"]
    assert "<" in bounds["torch"], "a newer torch finds no torchaudio that fits"


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
