"""A run from Python is the run of the command: the same settings, the same scores."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from oscine.cli import dispatch
from oscine.cli.console import config
from oscine.cli.probe.probe import parser, settings_of
from oscine.models.encoders.onnx_encoder import ONNXEncoder
from oscine.models.errors import Misuse, OscineError
from oscine.models.hub.folder import save_pretrained
from oscine.probe import FitSettings, ProbeRunSettings, run_probe
from oscine.probe.run.settings import check_run
from tests.two_tones import write_two_tones


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six clips of two tones in two folds, in the folder in which each test works."""
    monkeypatch.chdir(tmp_path)
    return write_two_tones(tmp_path, 6)


def small(**changes: object) -> ProbeRunSettings:
    given = {
        "name": "notebook", "encoder": "bat_tiny", "random_weights": True, "table": "tones.csv", "seconds": 0.6,
        "workers": 0, "head": {"pool": "bands", "norm": "batch"}, "fit": FitSettings(steps=20, lr=1e-2), "store": None,
    }  # fmt: skip
    return ProbeRunSettings(**given | changes)  # type: ignore[arg-type]


def test_python_and_the_command_line_give_the_same_scores() -> None:
    made = run_probe(small())
    call = ["probe", "linear", "--name", "shell", "--table", "tones.csv", "--encoder", "bat_tiny", "--random-weights"]
    call += ["--seconds", "0.6", "--workers", "0", "--fit.steps", "20", "--fit.lr", "1e-2", "--store", "null"]
    assert dispatch(call) == 0
    shell = json.loads(Path("runs/probe/shell/scores.json").read_text())
    assert made.folder == Path("runs/probe/notebook")
    written = json.loads((made.folder / "scores.json").read_text())
    ours, theirs = ({**one, "settings": {**one["settings"], "name": ""}} for one in (written, shell))
    assert ours == theirs
    lines = [json.loads(line) for line in Path("runs/probe/results.jsonl").read_text().splitlines()]
    assert {**lines[0], "name": ""} == {**lines[1], "name": ""}
    assert made.summary["tones"]["mean"] == pytest.approx(shell["mean"])
    assert (made.folder / "report.html").exists()


def test_every_field_is_an_option_with_the_same_value_where_none_is_given() -> None:
    parsed = config.parse(parser("LinearProbe"), config.find("probe", "linear"), ["--encoder", "bat_tiny"])
    settings, plain = settings_of(parsed), ProbeRunSettings(name="linear", encoder="bat_tiny")
    own = {"head", "fit"}  # which the configuration sets
    differ = {one.name for one in fields(plain) if getattr(settings, one.name) != getattr(plain, one.name)}
    assert differ <= own


def test_what_an_encoder_lacks_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    save_pretrained(ONNXEncoder(), tmp_path / "vectors")
    vectors: dict[str, Any] = {"encoder": f"local-dir:{tmp_path / 'vectors'}", "random_weights": False}
    whole = "compares the patches of a clip, local-dir:.*vectors has one vector a clip; .*oscine probe linear"
    refused: list[tuple[dict[str, Any], str]] = [
        ({"head": {"pool": "mean", "layer": 6}}, "layer 6 of an encoder with 6: choose from 0 to 5, or back from -1"),
        ({"probe": "AttentiveProbe", "head": {"layer": -7}}, "layer -7 of an encoder with 6"),
        ({**vectors, "head": {"pool": "pooled", "layer": 1}}, "layer 1 of an encoder with 1"),
        ({**vectors, "probe": "ConvexGatedProbe", "head": {}}, f"ConvexGatedProbe {whole}"),
        ({**vectors, "probe": "PrototypicalProbe", "head": {}}, f"PrototypicalProbe {whole}"),
        (
            {**vectors, "head": {"pool": "pooled"}, "finetune": True},
            "local-dir:.*vectors cannot be fine-tuned: .* linear$",
        ),
    ]
    for changes, said in refused:
        with pytest.raises(OscineError, match=said):
            check_run(small(**changes))
    check_run(small(head={"pool": "mean", "layer": -6}))
    check_run(small(**vectors, head={"pool": "pooled"}))


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="batch_size is 0, expected more than 0"):
        small(batch_size=0)
    with pytest.raises(OscineError, match=r"no table nowhere\.csv; check the path"):
        run_probe(small(table=Path("nowhere.csv")))
    for changes, said in (
        ({"head": {"pool": "max"}}, "'max' is not known to this probe"),
        ({"head": {"pol": "mean"}}, "LinearProbe has no setting pol; did you mean pool"),
        ({"task": {}}, r"task is {}, expected TaskSettings\(\.\.\.\)"),
        ({"fit": {"steps": 3}}, r"expected FitSettings\(\.\.\.\)"),
        ({"probe": "SuperProbe"}, "no probe 'SuperProbe'; expected one of LinearProbe"),
    ):
        with pytest.raises(OscineError, match=said):
            run_probe(small(**changes))
    assert not (tmp_path / "runs").exists()
    run_probe(small())
    with pytest.raises(OscineError, match=r"scores\.json exists; --overwrite replaces it"):
        run_probe(small())
