"""`oscine probe` and `oscine pretrain` help and refuse at once: what arguments and files alone tell needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oscine.cli.console.config import shipped

# Each call in turn, in one process: how it was left, what it said, and what had been imported by then.
CALLS = """
import contextlib, io, json, sys
from oscine.cli import dispatch
for call in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = dispatch(call)
        except SystemExit as left:
            code = left.code
    heavy = [name for name in ("torch", "timm", "torchaudio", "lightning") if name in sys.modules]
    print(json.dumps([code, said.getvalue(), heavy]))
"""


def outcomes(calls: list[list[str]], folder: Path) -> list[tuple[int, str, list[str]]]:
    done = subprocess.run(
        [sys.executable, "-c", CALLS], input=json.dumps(calls), cwd=folder, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_every_help_comes_without_torch(tmp_path: Path) -> None:
    calls = [
        [kind, *name, "--help"] for kind in ("probe", "pretrain") for name in ([], *([one] for one in shipped(kind)))
    ]
    for call, (code, said, heavy) in zip(calls, outcomes(calls, tmp_path), strict=True):
        assert (code, heavy) == (0, []), call
        assert said.startswith(f"usage: oscine {call[0]} ")


def test_settings_are_printed_without_torch(tmp_path: Path) -> None:
    calls = [["probe", "cgp", "--print_config"], ["pretrain", "bat_base", "--print_config"]]
    for code, said, heavy in outcomes(calls, tmp_path):
        assert (code, heavy) == (0, [])
        assert "steps: " in said


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "sound").mkdir()
    (tmp_path / "sound" / "a.wav").touch()
    (tmp_path / "sound" / "b.wav").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "labels.csv").write_text("path,label,fold\nsound/a.wav,wren,1\nsound/b.wav,tit,2\n")
    (tmp_path / "gone.csv").write_text("path,label,fold\nsound/a.wav,wren,1\nsound/c.wav,tit,2\n")
    (tmp_path / "one.csv").write_text("path,label,fold\nsound/a.wav,wren,1\nsound/b.wav,wren,2\n")
    (tmp_path / "bare.csv").write_text("file;species\na.wav;wren\n")
    (tmp_path / "runs/probe/old").mkdir(parents=True)
    (tmp_path / "runs/probe/old/scores.json").touch()
    (tmp_path / "runs/old").mkdir()
    settings = {"recipe": {"steps": 40, "warmup": 2}, "encoder": {"name": "bat_tiny"}}
    (tmp_path / "runs/old/settings.yaml").write_text(json.dumps(settings))
    (tmp_path / "mine.yaml").write_text("probe: SuperProbe\n")
    return tmp_path


PROBE: list[tuple[str, int, str]] = [
    ("lineer --table labels.csv", 2, "no configuration 'lineer': did you mean linear?"),
    ("mine.yaml", 2, "mine.yaml has probe 'SuperProbe'; expected one of LinearProbe"),
    ("linear --table labels.csv", 2, "required: encoder"),
    ("linear --encoder bat_tyni --table labels.csv", 1, "no model 'bat_tyni'; did you mean 'bat_tiny'?"),
    ("linear --encoder bat_tiny --table labels.csv", 1, "bat_tiny has no weights to fetch"),
    ("linear --encoder local-dir:empty --table labels.csv", 1, "no encoder in empty"),
    ("linear --encoder local-dir:empty --table labels.csv --random_weights", 2, "brings its own weights"),
    ("linear --encoder bird_mae_tiny --table nowhere.csv", 1, "no table nowhere.csv; check the path"),
    ("linear --encoder bird_mae_tiny --table gone.csv", 1, "1 of its 2 recordings do not exist"),
    ("linear --encoder bird_mae_tiny --table bare.csv", 1, "bare.csv: 1 of its 1 recordings"),
    ("linear --encoder bird_mae_tiny", 2, "give --table FILE.csv"),
    ("linear --encoder bird_mae_tiny --data nowhere --task.name folder", 1, "no folder nowhere; check the path"),
    ("linear --encoder bird_mae_tiny --data sound --task.name esc5", 2, "no task 'esc5'"),
    ("esc50_cgp --encoder bird_mae_tiny", 2, "no --data FOLDER, where esc50 lies"),
    ("linear --encoder bird_mae_tiny --table labels.csv --name old", 1, "scores.json exists; --overwrite replaces it"),
    ("linear --encoder bird_mae_tiny --table labels.csv --resume", 2, "--resume goes on with a fine-tuning"),
    ("linear --encoder bird_mae_tiny --table labels.csv --head.pol max", 2, "unrecognized arguments: --head.pol max"),
    ("linear --encoder bird_mae_tiny --table labels.csv --head.pool max", 1, "'max' is not known to this probe"),
    ("linear --encoder bird_mae_tiny --table labels.csv --head.norm max", 1, "choose from layer, batch, none"),
    ("linear --encoder bird_mae_tiny --table labels.csv --head.dropout 2", 1, "dropout is 2.0, expected a share"),
    ("mlp --encoder bird_mae_tiny --table labels.csv --head.hidden 0", 1, "0 hidden numbers"),
    ("head2toe --encoder bird_mae_tiny --table labels.csv --head.pool pooled", 1, "'pooled' is not known"),
    ("cgp --encoder bird_mae_tiny --table labels.csv --head.prototypes 0", 1, "0 prototypes"),
    ("cgp --encoder bird_mae_tiny --table labels.csv --head.pool frames", 2, "which dcase2016 asks for"),
    ("prototypical --encoder bird_mae_tiny --table labels.csv --head.prototypes_per_class 0", 1, "a class needs"),
    ("linear --encoder bird_mae_tiny --table labels.csv --fit.warmup 4000", 1, "fit.warmup is 4000, expected a share"),
    ("linear --encoder bird_mae_tiny --table labels.csv --fit.loss hinge", 1, "no loss 'hinge'"),
    ("linear --encoder bird_mae_tiny --table labels.csv --fit.lr fast", 2, '"fit.lr": Expected a number'),
    ("finetune/bat --encoder bird_mae_tiny --table labels.csv --tuning.mix 2", 1, "tuning.mix is 2.0"),
    ("finetune/bat --encoder bird_mae_tiny --table labels.csv --tuning.precision half", 1, "no precision 'half'"),
    ("finetune/bat --encoder bird_mae_tiny --table labels.csv --layer_scores", 2, "does not go with it"),
    ("linear --encoder bird_mae_tiny --table labels.csv --search.trials 2 --task.shots [1]", 2, "give either"),
    (
        "linear --encoder bird_mae_tiny --table labels.csv --search.trials 2 --search.space.fit.lrr [0,1]",
        1,
        "no number",
    ),
    ("linear --encoder bird_mae_tiny --table labels.csv --task.valid 2", 1, "task.valid is 2, expected a share"),
    ("linear --encoder bird_mae_tiny --table labels.csv --embeddings nowhere.parquet", 1, "no table nowhere.parquet"),
    ("linear --encoder bird_mae_tiny --table labels.csv --embeddings labels.csv", 1, "again with --out labels.parquet"),
    ("linear --encoder bird_mae_tiny --table labels.csv --device abacus:x", 1, "no device 'abacus:x'"),
    ("linear --encoder bird_mae_tiny --table one.csv", 1, "one label only"),
]
PRETRAIN: list[tuple[str, int, str]] = [
    ("bat_tyni --data.recordings sound", 2, "no configuration 'bat_tyni': did you mean bat_tiny?"),
    ("bat_tiny", 2, "required: data.recordings"),
    ("bat_tiny --data.recordings nowhere", 1, "no folder nowhere; check the path"),
    ("bat_tiny --data.recordings nowhere.csv", 1, "no manifest nowhere.csv; check the path"),
    ("bat_tiny --data.recordings empty", 1, "no recordings in empty; looked for"),
    ("bat_tiny --data.recordings sound --name old", 1, "old exists; --resume goes on with it"),
    ("bat_tiny --data.recordings sound --name new --resume", 1, "nothing to resume: no runs/new/settings.yaml"),
    ("bat_tiny --data.recordings sound --name old --resume", 1, "settings.yaml says "),
    ("bat_tiny --data.recordings sound --resume --overwrite", 2, "name one of them"),
    ("bat_tiny --data.recordings sound --recipe.viewz 3", 2, "unrecognized arguments: --recipe.viewz 3"),
    ("bat_tiny --data.recordings sound --recipe.warmup 2000", 1, "recipe.warmup is 2000, expected a share"),
    ("bat_tiny --data.recordings sound --recipe.compile fast", 1, "compile is 'fast'"),
    ("bat_tiny --data.recordings sound --data.bad_share 5", 1, "bad_share is 5"),
    ("bat_tiny --data.recordings sound --trainer.precision 7", 2, '"trainer.precision"'),
    ("bat_tiny --data.recordings sound --encoder.name bat_tyni", 1, "no model 'bat_tyni'"),
    ("bat_tiny --data.recordings sound --encoder.name local-dir:x", 2, "has weights of its own"),
    ("bat_tiny --data.recordings sound --trainer.max_steps 3", 2, "did you mean --recipe.steps?"),
    ("bat_tiny --data.recordings sound --encoder.haeds 3", 1, "BAT has no setting haeds; did you mean heads?"),
    ("bat_tiny --data.recordings sound --encoder.dim wide", 2, "--encoder.dim is 'wide', expected a number"),
    ("bat_tiny --data.recordings sound --init nowhere", 1, "no model 'nowhere'"),
    ("bat_tiny --data.recordings sound --init bat_tiny", 1, "bat_tiny has no weights to fetch"),
    ("bat_tiny --data.recordings sound --init empty", 1, "no encoder in empty"),
    ("bat_tiny --data.recordings sound --probe_table nowhere.csv", 1, "no table nowhere.csv; check the path"),
]


@pytest.mark.parametrize("command", ["probe", "pretrain"])
def test_every_refusal_that_arguments_and_files_tell_comes_without_torch(command: str, files: Path) -> None:
    cases: list[Any] = {"probe": PROBE, "pretrain": PRETRAIN}[command]
    calls = [[command, *call.split()] for call, _, _ in cases]
    before = sorted(files.rglob("*"))
    for (call, code, complaint), found in zip(cases, outcomes(calls, files), strict=True):
        *lines, said = found[1].strip().splitlines()
        assert all(line.startswith("fine-tuning as in arXiv") for line in lines), found[1]
        assert said.startswith(f"oscine {command}: "), call
        assert complaint in said, call
        assert (found[0], found[2]) == (code, []), call
    assert sorted(files.rglob("*")) == before, "nothing is written"
