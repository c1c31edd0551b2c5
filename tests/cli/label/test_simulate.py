"""`oscine label simulate`: what it prints, which suites it knows, and what it refuses."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from oscine.cli import dispatch
from oscine.cli.console import config
from oscine.cli.label.simulate import parse
from oscine.probe.label.simulation.settings import CHANGING
from oscine.probe.label.simulation.simulate import read_runs
from tests.embedding_tables import write_embeddings, write_labels
from tests.forked import FORK, Program, wait_for

SUITES = config.shipped("label")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the words of a small simulation, in its folder."""
    import numpy as np

    monkeypatch.chdir(tmp_path)
    labels = ["owl", "tit", "wren"] * 14
    files = write_labels(tmp_path / "labels.csv", labels, [1 + number // 3 % 2 for number in range(42)])
    rng = np.random.default_rng(0)
    vectors = np.eye(3)[[number % 3 for number in range(42)]] + 0.2 * rng.normal(size=(42, 3))
    write_embeddings(tmp_path / "birds.parquet", files, {"embedding": vectors})
    words = "label simulate birds.parquet --table labels.csv --out out --initial 4 --batch 2 --batches 2 --seeds 2"
    return [*words.split(), "--workers", "1"]


def test_it_prints_what_strategies_came_to_and_where_all_lies(call, capsys: pytest.CaptureFixture[str]):
    assert dispatch([*call, "--strategies", "margin"]) == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"(random|margin) +│ (random|typiclust)", said)) == 4
    assert "birds: " in said
    assert "report: out/report.html" in said
    assert Path("out/report.html").is_file()


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ("--strategies margn", 2, "no strategy 'margn'"),
        ("--initial_sets cluster", 2, "no initial set 'cluster'; expected one of random, typiclust"),
        ("--suite activglae", 2, "did you mean activeglae?"),
        ("--batches 99", 1, "--batches 8 at most"),
        ("--vectors cls_1", 1, "birds.parquet has no column 'cls_1'; name one of embedding"),
        ("--batchs 3", 2, "did you mean --batch"),
        ("--C 0", 2, "C is 0, expected more than 0"),
    ],
)
def test_what_cannot_be_is_one_line(call, words: str, code: int, complaint: str, capsys: pytest.CaptureFixture[str]):
    assert dispatch([*call, *words.split()]) == code
    said = capsys.readouterr().err.strip().splitlines()
    assert complaint in said[-1]
    assert not Path("out").exists()


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_leaves_nothing_to_a_hidden_default(name: str):
    content = config.read(config.find("label", name))
    assert {*content} == {*CHANGING, "strategies", "initial_sets", "seeds"}


@pytest.mark.parametrize("name", SUITES)
def test_what_is_given_comes_before_a_suite(name: str):
    content = config.read(config.find("label", name))
    words = ["birds.parquet", "--table", "labels.csv", "--out", "out", "--batch", "7", "--suite", name]
    settings = parse(words)
    assert {key: getattr(settings, key) for key in content} == {**content, "batch": 7}
    assert parse([*words[:-2], f"--suite={name}", "--seeds", "3"]).seeds == 3


def test_no_suite_holds_an_order_or_a_class(call, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "odd.yaml").write_text("initial: 4\nprobe: {class_path: os.system}\n")
    assert dispatch([*call, "--suite", "odd.yaml"]) == 2
    assert "odd.yaml has a class_path" in capsys.readouterr().err


@pytest.mark.skipif(FORK is None, reason="Windows has no fork")
def test_a_call_that_was_killed_goes_on(call):
    runs = Path("out/runs.jsonl")
    program = Program([*call, "--seeds", "40"])
    wait_for(lambda: runs.is_file() and len(runs.read_bytes().splitlines()) > 5)
    assert program.kill_all() == -signal.SIGKILL
    kept = read_runs(runs)
    assert 5 < len(kept) < 40 * 15
    assert dispatch([*call, "--seeds", "2"]) == 0
    after = read_runs(runs)
    assert {run: after[run] for run in kept} == kept
