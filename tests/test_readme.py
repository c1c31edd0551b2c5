"""What the README shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from oscine.cli import COMMANDS, main
from oscine.cli.console import config
from oscine.models import list_models
from oscine.probe.deploy import negatives
from tests.undrawn import leave_figures_undrawn

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CALLS = re.findall(r"^    oscine (.+?)(?:  +#.*)?$", README, re.MULTILINE)
FAR = ("hsn", "HSN", "bat_base", "OWNER")  # what only a network, a cluster or a large download can run
OWN = {"FOLDER": "runs/quickstart/chorus_0", "labels.csv": "runs/quickstart/chorus_0/labels.csv"}
SHORT = {"probe": ["--fit.steps", "4", "--fit.warmup", "1"]}


@pytest.fixture
def folder_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What quickstart has left, and the README speaks of: a soundscape, a labelled table.

    Half as much noise as a user's probe learns from, and figures that are not drawn, which take longer than all else.
    """
    leave_figures_undrawn(monkeypatch)
    monkeypatch.setattr(negatives, "NOISE_CLIPS", 18)
    chorus = tmp_path / "runs/quickstart/chorus_0"
    (chorus / "soundscapes").mkdir(parents=True)
    rng = np.random.default_rng(0)
    soundfile.write(chorus / "soundscapes/brook_0.flac", rng.uniform(-0.3, 0.3, 5 * 22_050), 22_050)
    rows = []
    for number in range(8):
        soundfile.write(chorus / f"{number}.wav", rng.uniform(-0.3, 0.3, 16_000) * (number % 2 or 0.1), 16_000)
        rows.append({"path": f"{number}.wav", "label": "ab"[number % 2], "fold": number // 4})
    pd.DataFrame(rows).to_csv(chorus / "labels.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1][:40])
def test_every_python_block_runs(block: str, folder_of_a_user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_the_calls_that_need_no_network_run_one_after_the_other(folder_of_a_user: Path) -> None:
    near = [call.split() for call in CALLS if not any(word in call for word in FAR)]
    for command, *words in near:
        call = [command, *(OWN.get(word, word) for word in words), *SHORT.get(command, [])]
        with pytest.raises(SystemExit) as left:
            main(call)
        assert not left.value.code, " ".join(call)
    assert {command for command, *_ in near} >= {"embed", "probe", "compare", "predict", "export"}
    for made in ("embeddings.parquet", "left.csv", "birds.csv", "birds.txt", "birds.onnx"):
        assert Path(made).stat().st_size > 0


@pytest.mark.parametrize("call", [call for call in CALLS if any(word in call for word in FAR)])
def test_every_other_call_has_options_that_there_are(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, *words = call.split()
    named = words[:1] if command in ("probe", "pretrain") else []
    with pytest.raises(SystemExit):
        main([command, *named, "--help"])
    options = capsys.readouterr().out
    for word in words:
        assert not word.startswith("--") or word in options, word


def test_every_command_and_configuration_that_is_named_exists() -> None:
    for command, name in re.findall(r"oscine (\w+)(?: ([\w/]+))?", README):
        if command in COMMANDS and command in ("pretrain", "probe") and name:
            assert name in config.shipped(command)
        else:
            assert command in {*COMMANDS, "is", "COMMAND", "import"}, command


def test_the_table_of_encoders_names_every_size() -> None:
    for name in list_models():
        family, size = name.rsplit("_", 1)
        [row] = [line for line in README.splitlines() if line.startswith(f"| `{family}_*`")]
        assert f"`{size}`" in row
