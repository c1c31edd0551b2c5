"""Libraries that do not fit the installed torch: one line says which, what would fit, and the command that mends it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from oscine.models import library_versions
from oscine.models.library_versions import describe_failure, required, required_by_torchvision

# Each name is asked for on its own: what one import leaves behind must not hide the reason from the next.
PROGRAM = """
import oscine.models, oscine.pretrain, oscine.probe
from oscine.cli import dispatch
from oscine.models import OscineError
def needs(name, work):
    try:
        work()
    except OscineError as error:
        print(error)
    else:
        raise SystemExit(f"{name} works")

needs("create_model", lambda: oscine.create_model("bat_tiny"))
for place, name in [
    (oscine.models, "BAT"), (oscine.models, "BEATs"), (oscine.probe, "LinearProbe"), (oscine.probe, "AttentiveProbe"),
    (oscine.pretrain, "BATPretraining"), (oscine.pretrain, "BirdMAEPretraining"),
    (oscine.pretrain, "AudioMosaicPretraining"),
]:
    needs(name, lambda: getattr(place, name))
assert dispatch(["embed", ".", "--model", "bird_mae_tiny", "--out", "out.parquet"]) == 1
"""


def fake(folder: Path, library: str, version: str, dies: str, needs: str = "torch") -> None:
    """An installed library whose import dies."""
    package, metadata = folder / library, folder / f"{library}-{version}.dist-info"
    package.mkdir()
    metadata.mkdir()
    (package / "__init__.py").write_text(dies, encoding="utf-8")
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {library}\nVersion: {version}\nRequires-Dist: {needs}\n", encoding="utf-8"
    )


DEATHS = {
    "torchaudio": ("import torch\ntorch.nothing_of_this_name", "AttributeError: module 'torch' has no attribute"),
    "torchvision": (
        "raise RuntimeError('operator torchvision::nms does not exist')",
        "RuntimeError: operator torchvision::nms does not exist",
    ),
    "timm": ("raise OSError('libtorch.so: undefined symbol')", "OSError: libtorch.so: undefined symbol"),
}


@pytest.mark.parametrize("library", DEATHS)
def test_whoever_needs_a_library_that_dies_reads_one_line(library, tmp_path):
    dies, reason = DEATHS[library]
    fake(tmp_path, library, "0.7.1", dies, "torch==2.0.1")
    soundfile.write(tmp_path / "noise.wav", np.zeros(16_000), 16_000)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    command = f"oscine embed: {library} 0.7.1 does not load"
    lines = [*done.stdout.splitlines(), *(line for line in done.stderr.splitlines() if line.startswith(command))]
    assert len(lines) == 9
    for line in lines:
        assert f"{library} 0.7.1 does not load with torch" in line
        assert reason in line
        assert "run: " in line
        assert re.search(
            r'install --upgrade (--force-reinstall )?"torch>=[\d.]+" "torchaudio>=[\d.]+" torchvision', line
        )
        assert library in line.partition("run: ")[2]
    assert "Traceback" not in done.stderr
    assert ("torch==2.0.1 for this torchvision" in lines[0]) == (library == "torchvision")


def test_what_should_fit_and_does_not_is_installed_anew(monkeypatch):
    """Versions in range that die are other builds, such as a CPU's beside a GPU's: upgrading would change nothing."""
    assert "--force-reinstall" in describe_failure("torchaudio", OSError("undefined symbol"))
    monkeypatch.setattr(library_versions, "installed", {"torch": "2.0.1", "torchaudio": "2.11.1"}.get)
    assert "--force-reinstall" not in describe_failure("torchaudio", OSError("undefined symbol"))


def test_the_line_speaks_of_the_ranges_that_the_package_declares():
    declared = required("timm")
    assert declared.keys() == {"torch", "torchaudio", "torchvision", "timm"}
    line = describe_failure("torchvision", RuntimeError("operator\n  torchvision::nms does not exist"))
    assert f"torch{declared['torch']} with torchaudio{declared['torchaudio']}" in line
    assert required_by_torchvision() in line
    assert "\n" not in line
