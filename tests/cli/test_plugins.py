"""--plugin is of every command: with it encoders, recipes and probes of one's own are used like oscine's."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from oscine.cli import COMMANDS, HELP, dispatch, split_plugins
from oscine.models.errors import Misuse
from tests.forked import Program

PLUGIN = '''
from functools import partial

import torch

from oscine.models import BirdMAE, register_encoder
from oscine.pretrain import BirdMAEPretraining
from oscine.probe import LinearProbe


@register_encoder(sizes={"wren_tiny": {"dim": 8, "depth": 1, "heads": 2, "seconds": 0.5}})
class Wren(BirdMAE):
    pass


def columns(grid, ratio, generator):
    kept = torch.randperm(grid[0], generator=generator)[: round(grid[0] * (1 - ratio))].sort().values
    return (kept[:, None] * grid[1] + torch.arange(grid[1])).reshape(1, -1)


class Columns(BirdMAEPretraining):
    """Hide columns.

    Args:
        weight: of the loss.
    """

    def __init__(self, encoder, weight: float = 2.0, **settings):
        super().__init__(encoder, **settings)
        self.weight = weight

    @property
    def draw_keep(self):
        return partial(columns, self.encoder.grid, self.mask_ratio)


class Louder(LinearProbe):
    """Louder logits.

    Args:
        gain: of the logits.
    """

    def __init__(self, encoder, classes, gain: float = 2.0, **settings):
        super().__init__(encoder, classes, **settings)
        self.gain = gain

    def logits(self, prepared):
        return self.gain * super().logits(prepared)
'''
RUN = """
name: wren
method: wrens:Columns
encoder: {name: wren_tiny}
data: {recordings: sound, batch_size: 2, workers: 0}
recipe: {decoder_dim: 16, decoder_depth: 1, decoder_heads: 2, steps: 2}
pictures_every: 0
"""
ALLOWED = ["--plugin", "wrens.py"]


@pytest.fixture(autouse=True)
def here(door: Iterator[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrens.py").write_text(PLUGIN)
    Path("run.yaml").write_text(RUN)
    Path("louder.yaml").write_text("name: louder\nprobe: Louder\nhead: {gain: 3.0}\nfit: {steps: 4, warmup: 1}\n")
    Path("sound").mkdir()
    rng, rows = np.random.default_rng(0), []
    for number in range(8):
        soundfile.write(f"sound/{number}.wav", rng.uniform(-0.3, 0.3, 8_000) * (number % 2 or 0.1), 16_000)
        rows.append({"path": f"sound/{number}.wav", "label": "ab"[number % 2], "fold": number // 4})
    pd.DataFrame(rows).to_csv("labels.csv", index=False)


def test_a_plugin_is_named_anywhere_before_two_dashes_and_more_than_once() -> None:
    given = ["--plugin", "a.py", "embed", "--plugin=b", "x", "--", "--plugin", "c"]
    assert split_plugins(given) == (["embed", "x", "--", "--plugin", "c"], ["a.py", "b"])
    for wrong in (["embed", "--plugin"], ["--plugin="], ["--plugin", "--out", "x"]):
        with pytest.raises(Misuse, match=r"names no plugin; expected --plugin FILE.py or --plugin MODULE"):
            split_plugins(wrong)
    assert "--plugin FILE.py" in HELP


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_in_one_line_that_a_plugin_is_not_there(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch([command, "--plugin", "none.py"]) == 2
    assert capsys.readouterr().err == (
        f"oscine {command}: --plugin none.py does not exist; expected FILE.py, or a MODULE that Python can import\n"
    )


def test_names_alone_import_nothing_and_say_what_allows_them(capsys: pytest.CaptureFixture[str]) -> None:
    calls = {
        "pretrain run.yaml": "run.yaml has method 'wrens:Columns'; ",
        "probe louder.yaml --encoder bird_mae_tiny --table labels.csv": "louder.yaml has probe 'Louder'; ",
        "embed sound --model wrens:Wren --out x.csv": "no architecture 'wrens:Wren'; ",
    }
    for call, said in calls.items():
        assert dispatch(call.split()) in (1, 2)
        line = capsys.readouterr().err
        assert line.startswith(f"oscine {call.split()[0]}: {said}")
        assert "--plugin FILE.py or --plugin MODULE" in line
        assert line.count("\n") == 1
    assert "wrens" not in sys.modules


def test_help_has_the_settings_of_ones_own_class_and_of_those_it_builds_on(capsys: pytest.CaptureFixture[str]) -> None:
    for call, of_its_own, inherited in (
        (
            "pretrain run.yaml",
            "--recipe.weight NUMBER of the loss (default: 2.0)",
            "--recipe.mask_ratio NUMBER share of",
        ),
        ("probe louder.yaml", "--head.gain NUMBER of the logits (default: 3.0)", "--head.dropout NUMBER of that layer"),
    ):
        with pytest.raises(SystemExit):
            dispatch([*call.split(), *ALLOWED, "--help"])
        said = " ".join(capsys.readouterr().out.split())
        assert of_its_own in said
        assert inherited in said


def test_the_whole_way_from_pretraining_to_publishing(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["pretrain", "run.yaml", *ALLOWED]) == 0
    assert yaml.safe_load(Path("runs/wren/settings.yaml").read_text())["recipe"]["weight"] == 2.0
    assert dispatch(["pretrain", "run.yaml", *ALLOWED, "--resume"]) == 0
    assert dispatch(["pretrain", "run.yaml", *ALLOWED, "--resume", "--recipe.weight", "3"]) == 1
    assert dispatch(["pretrain", "run.yaml", *ALLOWED, "--name", "again", "--init", "runs/wren"]) == 0
    encoder = "local-dir:runs/wren"
    assert dispatch(["probe", "louder.yaml", *ALLOWED, "--encoder", encoder, "--table", "labels.csv"]) == 0
    saved = json.loads(Path("runs/probe/louder/probe/probe.json").read_text())
    assert (saved["probe"], saved["probe_module"], saved["head"]["gain"]) == ("Louder", "wrens", 3.0)
    assert dispatch(["predict", "sound", *ALLOWED, "--probe", "runs/probe/louder", "--out", "said.csv"]) == 0
    assert dispatch(["embed", "sound", *ALLOWED, "--model", encoder, "--out", "table.csv"]) == 0
    assert dispatch(["export", encoder, "wren.onnx", *ALLOWED, "--probe", "runs/probe/louder"]) == 0
    capsys.readouterr()
    publish = ["--licence", "mit", "--dry-run", *ALLOWED]
    assert dispatch(["publish", "runs/wren", "me/wren", *publish]) == 0
    card = capsys.readouterr().out
    assert "**It needs code that neither oscine nor this repository holds: `Wren` of the module `wrens`.**" in card
    assert "\nimport wrens  # which its authors have\nfrom oscine.models import create_model" in card
    assert dispatch(["publish", "runs/probe/louder", "me/louder", *publish]) == 0
    assert "`Wren` of the module `wrens`, `Louder` of the module `wrens`" in capsys.readouterr().out


def test_what_others_made_needs_the_flag_and_workers_that_are_started_know_the_plugin(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("deep").mkdir()
    Path("wrens.py").rename("deep/wrens.py")
    # In a process of its own, since the module is known from then on; the worker that it starts knows nothing of it.
    start_anew = partial(multiprocessing.set_start_method, "spawn", force=True)
    call = ["pretrain", "run.yaml", "--plugin", "deep/wrens.py", "--data.workers", "1"]
    made = Program(call, before=start_anew).end()
    assert made.code == 0, made.err
    assert dispatch(["embed", "sound", "--model", "local-dir:runs/wren", "--out", "x.csv"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    config = "runs/wren/encoder/config.json"
    assert line.startswith(f"oscine embed: {config}: unknown architecture 'Wren'; it is of the module 'wrens', ")
    assert "--plugin FILE.py or --plugin MODULE allows somebody's own" in line
