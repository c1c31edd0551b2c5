"""What docs/extend.md shows runs as it stands: an encoder, a recipe, and every call with them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.cli import dispatch

TEXT = (Path(__file__).resolve().parents[1] / "docs/extend.md").read_text(encoding="utf-8")
FILES = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", TEXT, re.DOTALL)
BLOCKS = re.findall(r"```python\n(?!# )(.*?)```", TEXT, re.DOTALL)
CALLS = re.findall(r"^    oscine (?!COMMAND)(.+)$", TEXT, re.MULTILINE)
# So that seconds are enough
SHORT = {
    "pretrain": "--recipe.steps 2 --data.batch_size 2 --data.workers 0 --encoder.dim 24 --encoder.depth 1 --encoder.heads 2",
    "probe": "--fit.steps 4 --fit.warmup 1",
}


@pytest.fixture
def folder_of_a_user(door: Iterator[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in FILES:
        Path(name).write_text(text)
    Path("FOLDER").mkdir()
    rng, rows = np.random.default_rng(0), []
    for number in range(8):
        soundfile.write(f"FOLDER/{number}.wav", rng.uniform(-0.3, 0.3, 16_000) * (number % 2 or 0.1), 16_000)
        rows.append({"path": f"FOLDER/{number}.wav", "label": "ab"[number % 2], "fold": number // 4})
    pd.DataFrame(rows).to_csv("labels.csv", index=False)


def test_every_example_runs_as_it_stands(folder_of_a_user: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert [name for name, _ in FILES] == ["convnet.py", "columns.py", "columns.yaml"]
    torch.manual_seed(0)  # of the weights that an example begins with
    for block in BLOCKS:
        exec(compile(block, "docs/extend.md", "exec"), {})
    said = ""
    for call in CALLS:
        words = shlex.split(call)
        try:
            code = dispatch([*words, *SHORT.get(words[0], "").split()])
        except SystemExit as left:  # of --help
            code = int(str(left.code))
        told = capsys.readouterr()
        assert code == 0, f"{call}: {told.err}"
        said += " ".join(told.out.split())
    assert "--recipe.hidden NUMBER share of the columns that is hidden (default: 0.6)" in said
    assert "`ConvNet` of the module `convnet`" in said
    assert {call.split()[0] for call in CALLS} == {
        "models",
        "probe",
        "embed",
        "predict",
        "export",
        "publish",
        "pretrain",
    }
