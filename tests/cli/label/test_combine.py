"""`oscine label combine` as it is called: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from oscine.cli import dispatch
from oscine.cli.console.command import parser
from oscine.cli.console.examples import EXAMPLES
from oscine.cli.label.combine import combine
from oscine.probe.label.journal import Answer, Clip, Journal
from tests.embedding_tables import write_embeddings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recordings, and the votes of three people on them, who say tit and wren by turns; cem errs."""
    monkeypatch.chdir(tmp_path)
    rows = ["path,annotator,label,seconds"]
    for number in range(20):
        soundfile.write(tmp_path / f"{number:02}.wav", np.zeros(800), 800)
        label = ("tit", "wren")[number % 2]
        rows += [f"{number:02}.wav,{person},{label},2" for person in ("ann", "bob")]
        rows += [f"{number:02}.wav,cem,{'tit' if number % 4 else label},9"]
    (tmp_path / "votes.csv").write_text("\n".join(rows))
    return tmp_path


def test_votes_become_a_labelled_table_and_a_report_an_annotator(folder, capsys):
    assert dispatch("label combine votes.csv --out labels.csv --opinions again.csv --targets soft.csv".split()) == 0
    said = capsys.readouterr().out
    rows = {
        line.split()[0]: line.split() for line in said.splitlines() if line.strip().startswith(("ann", "bob", "cem"))
    }
    assert rows["ann"][1:7] == ["20", "20", "0.75", "1.00", "1.00", "2.0"]  # half a tie in ten clips of twenty
    assert rows["cem"][1:7] == ["20", "20", "0.50", "0.50", "0.50", "9.0"]
    assert "says tit for wren (10)" in said
    assert "labels.csv: 20 clips, by majority (there are no embeddings; --embeddings TABLE lets a probe help)" in said
    assert said.rstrip().endswith("oscine probe linear --encoder bird_mae_tiny --table labels.csv")
    written = pd.read_csv("labels.csv")
    assert written["label"].tolist() == ["tit", "wren"] * 10
    assert len(pd.read_csv("soft.csv")) == 20
    assert pd.read_csv("again.csv").empty  # everybody has heard everything


def test_embeddings_let_a_probe_help(folder, capsys):
    vectors = np.random.default_rng(0).normal(size=(20, 4)) + 4 * np.eye(4)[np.arange(20) % 2]
    write_embeddings(folder / "clips.parquet", [f"{number:02}.wav" for number in range(20)], {"embedding": vectors})
    assert dispatch("label combine votes.csv --out labels.csv --embeddings clips.parquet".split()) == 0
    assert "labels.csv: 20 clips, by probe (" in capsys.readouterr().out
    assert pd.read_csv("labels.csv")["label"].tolist() == ["tit", "wren"] * 10


def test_journals_of_two_people_become_one_table(folder, capsys):
    for person, other in (("ann", "absent"), ("bob", "present")):
        with Journal(folder / "labels" / f"{person}.jsonl", ["tit", "wren"]) as journal:
            journal.add(
                Answer(Clip("00.wav", 0.0, 1.0), "", {"tit": "present", "wren": "absent"}, audit=person == "ann")
            )
            journal.add(Answer(Clip("01.wav", 0.0, 1.0), "", {"tit": "present", "wren": other}))
    call = "label combine labels/ann.jsonl labels/bob.jsonl --recordings . --out labels.csv"
    assert dispatch(call.split()) == 0
    assert "left out, since the votes are tied: 1" in capsys.readouterr().out
    written = pd.read_csv("labels.csv")
    assert written.to_dict("records") == [
        {
            "path": "00.wav",
            "start": 0.0,
            "end": 1.0,
            "labels": "tit",
            "annotator": "ann;bob",
            "share": 1.0,
            "audit": True,
        }
    ]


@pytest.mark.parametrize(
    ("more", "code", "complaint"),
    [
        ("--method best", 2, "no method 'best' for clips of one class; choose from majority, likelihoods"),
        ("--method probe", 2, "probe looks at the clips; give their table with --embeddings"),
        ("--min-share 2", 2, "--min-share is 2, expected 0 to 1"),
        ("--without rook", 1, "--without names rook, which is no class of the votes; they have tit, wren"),
        ("--classes birds.txt", 1, "votes.csv: row 2: ann named tit, which is none of the 1 class"),
    ],
)
def test_what_does_not_fit_is_one_line(folder, capsys, more, code, complaint):
    (folder / "birds.txt").write_text("wren\n")
    assert dispatch(["label", "combine", "votes.csv", "--out", "labels.csv", *more.split()]) == code
    said = capsys.readouterr().err
    assert said.startswith(f"oscine label: {complaint}")
    assert said.count("\n") == 1
    assert not (folder / "labels.csv").exists()


def test_votes_that_are_not_there_are_one_line(folder, capsys):
    assert dispatch("label combine votes.csv gone.csv --out labels.csv".split()) == 1
    assert capsys.readouterr().err == "oscine label: no votes gone.csv; check the path\n"


def test_a_table_that_is_there_is_replaced_only_when_asked(folder, capsys):
    call = "label combine votes.csv --out labels.csv".split()
    assert dispatch(call) == 0
    assert dispatch(call) == 1
    assert "labels.csv exists already" in capsys.readouterr().err
    assert dispatch([*call, "--overwrite"]) == 0


def test_counting_votes_takes_no_torch(folder):
    program = (
        "import sys; from oscine.cli import dispatch; "
        "assert dispatch('label combine votes.csv --out labels.csv'.split()) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, stdout=subprocess.DEVNULL)


def test_examples_are_read():
    for call in EXAMPLES["label combine"]:
        parser(combine, "label combine").parse_args(shlex.split(call)[3:])
        assert len(call) <= 78
