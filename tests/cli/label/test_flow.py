"""From a folder of recordings without labels to a probe in use, by commands alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from oscine.cli import dispatch
from oscine.models.hub.folder import save_pretrained
from oscine.probe.tasks.task import read_task
from tests.tiny_encoders import small_encoder

BIRDS = ["dunnock", "robin", "wren"]


@pytest.fixture
def wood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with recordings of one bird each and an encoder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wood").mkdir()
    times, generator = np.arange(32_000) / 16_000, np.random.default_rng(0)
    for number in range(9):
        song = np.sin(2 * np.pi * [800, 2500, 5500][number % 3] * times) + 0.1 * generator.normal(size=len(times))
        soundfile.write(tmp_path / f"wood/{BIRDS[number % 3]}_{number}.wav", 0.3 * song, 16_000)
    save_pretrained(small_encoder(), tmp_path / "encoder")
    Path("birds.txt").write_text("\n".join(BIRDS))
    return tmp_path


def call(command: str) -> None:
    assert dispatch(command.split()) == 0


def fill(path: str) -> None:
    rows = pd.read_csv(path)
    rows["labels"] = [name.partition("_")[0] for name in rows["path"]]
    rows.to_csv(path, index=False)


def test_label_by_queues_combine_and_predict(wood: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("embed wood --model local-dir:encoder --out birds.parquet --workers 0")
    call(
        "label suggest birds.parquet --out first.csv --count 9 --one-label --recordings wood --raven first.txt "
        "--snippets clips"
    )
    said = capsys.readouterr().out
    assert "first.csv: 9 clips, chosen by typiclust until there is something to tell apart, then uherding (one" in said
    assert said.splitlines()[-1] == "oscine label read first.txt --table birds.parquet --recordings wood --one-label"
    assert len([*Path("clips").iterdir()]) == 9
    assert Path("first.txt").read_text().count("\n") == 10
    fill("first.csv")
    call("label read first.csv --table birds.parquet --classes birds.txt --name anna --one-label")
    assert "9 answers taken, 0 there before, 0 clips not filled in" in capsys.readouterr().out
    call("label suggest birds.parquet --out second.csv --count 9")
    said = capsys.readouterr().out
    assert "9 clips, chosen by uherding (one label a clip: " in said
    assert said.splitlines()[-1] == "oscine label read second.csv --table birds.parquet --one-label"
    assert not {*pd.read_csv("first.csv")["path"].str.cat(pd.read_csv("first.csv")["start"].astype(str))} & {
        *pd.read_csv("second.csv")["path"].str.cat(pd.read_csv("second.csv")["start"].astype(str))
    }
    fill("second.csv")
    call("label read second.csv --table birds.parquet --name ben --one-label")
    assert capsys.readouterr().out.splitlines()[-1] == "oscine label suggest birds.parquet --out next.csv"
    call("label combine labels --recordings wood --out labels.csv")
    task = read_task("labels.csv")
    assert len(task.rows) == 18
    assert [row[0] for row in task.rows["labels"]] == [Path(path).name.partition("_")[0] for path in task.rows["path"]]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("label suggest birds.parquet --out queue.txt", 2, "queue.txt must end in .csv"),
        ("label suggest birds.parquet --out queue.csv --raven queue.txt", 2, "give their folder with --recordings"),
        ("label suggest birds.txt --out queue.csv", 1, "birds.txt is no Parquet file"),
        ("label suggest none.parquet --out queue.csv", 1, "no table none.parquet"),
        ("label suggest birds.parquet --out there.csv", 1, "there.csv exists already"),
        ("label read none.csv --table birds.parquet", 1, "none.csv"),
        (
            "label page birds.parquet --recordings wood --classes none.txt --no-browser",
            1,
            "none.txt; expected a text file of names",
        ),
        (
            "label page birds.parquet --recordings encoder --classes birds.txt --no-browser",
            1,
            "no recordings in encoder",
        ),
        ("label page birds.parquet --recordings wood --classes birds.txt --port 70000", 2, "port is 70000"),
        (
            "label page birds.parquet --recordings wood --classes birds.txt --host 192.0.2.1",
            1,
            "host 192.0.2.1 cannot be served on",
        ),
        ("label page birds.parquet --recordings wood --classes birds.txt --name a/b", 1, "the name 'a/b' is a path"),
        ("label page birds.parquet --recordings wood --classes birds.txt --batch 0", 2, "a batch of 0 clips"),
        (
            "label page birds.parquet --recordings wood --classes birds.txt --overlap 2",
            2,
            "overlap is 2, expected a share",
        ),
        ("label page birds.parquet --recordings wood --classes birds.txt --strategy margn", 2, "did you mean margin?"),
    ],
)
def test_what_does_not_fit_is_one_line(
    command: str, code: int, words: str, wood: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("embed wood --model local-dir:encoder --out birds.parquet --workers 0")
    Path("there.csv").touch()
    capsys.readouterr()
    assert dispatch(command.split()) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if "loading PyTorch" not in line]
    assert len(lines) == 1
    assert words in lines[0]
    assert not Path("labels").exists()
