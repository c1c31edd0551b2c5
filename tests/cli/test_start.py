"""Help, lists and what is refused by arguments and files alone come before torch is imported, which takes many seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from oscine.cli import COMMANDS
from oscine.models.checkpoints import ARCHITECTURES
from oscine.models.encoders.base.devices import DEVICES
from oscine.models.encoders.bat import BAT
from oscine.models.hub.folder import save_pretrained
from oscine.probe.deploy.saved_probe import save_probe
from oscine.probe.results.runs import Run, add_run
from tests.probe.deploy.test_publish import fitted_on

# Runs many calls in one process, which is left before the first module that they must not need: see `called`.
DRIVER = """
import contextlib, io, json, sys
from oscine.cli import dispatch
said = {}
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = dispatch(arguments)
        except SystemExit as left:
            code = left.code
    slow = sorted({"torch", "torchaudio", "torchvision", "timm", "lightning"} & sys.modules.keys())
    said[" ".join(arguments)] = [code, out.getvalue(), err.getvalue(), slow]
    if slow:
        break
print(json.dumps(said))
"""
EMBED, MODEL = "embed wood --out new.parquet", "--model bat_base"
PREDICT = "predict wood --out new.parquet"
PUBLISH = "publish run robin/bird"

SHOWN = {
    "": "usage: oscine COMMAND",
    "--version": "oscine 0.",
    **{f"{name} --help": f"usage: oscine {name}" for name in COMMANDS if name not in ("probe", "pretrain")},
    "models": "bird_mae_huge",
    "models --pretrained bird": "DBD-research-group/Bird-MAE-Huge",
    "compare results.jsonl": "my_encoder",
    "compare --task hsn": "Bird-MAE",
    "download bird_mae_tiny.esc10": "sha256",
}
REFUSED = {
    "sing": (2, "no command 'sing'"),
    # embed
    f"{EMBED} --model bat_tyni": (1, "no model 'bat_tyni'; did you mean 'bat_tiny'?"),
    f"{EMBED} --model bird_mae_base.dawn": (1, "no weights 'bird_mae_base.dawn'; bird_mae_base has"),
    f"{EMBED} --model bat_tiny": (1, "bat_tiny has no weights to fetch"),
    f"{EMBED} --model local-dir:nowhere": (1, "no encoder in nowhere"),
    f"{EMBED} --model local-dir:bare": (1, "no weights at bare/model.safetensors"),
    f"{EMBED} --model local-dir:run --random-weights": (2, "local-dir:run brings its own weights"),
    f"{EMBED} --model hf-hub:a/b/c": (1, "'a/b/c' is not the name of a repository"),
    f"{EMBED} {MODEL} --checkpoint none.pt": (1, "no weights at none.pt"),
    f"{EMBED} {MODEL} --layers x": (2, "layers 'x': expected numbers"),
    f"{EMBED} {MODEL} --pools cls --layers 12": (1, "layer 12 of an encoder with 12: choose from 0 to 11, or back"),
    f"{EMBED} --model local-dir:run --pools cls --layers=-3": (1, "layer -3 of an encoder with 2: choose from 0 to 1"),
    f"{EMBED} {MODEL} --pools max": (1, "pools max; choose from"),
    f"{EMBED} {MODEL} --dtype float8": (1, "no dtype 'float8'"),
    f"{EMBED} {MODEL} --precision half": (1, "no precision 'half'"),
    f"{EMBED} {MODEL} --clock Mars": (1, "no time zone 'Mars'"),
    f"{EMBED} {MODEL} --channel up": (1, "channel 'up'"),
    f"{EMBED} {MODEL} --shard 3/2": (1, "shard '3/2'"),
    f"{EMBED} {MODEL} --hop 0": (1, "hop is 0.0 s, expected more than 0"),
    f"{EMBED} {MODEL} --batch-size 0": (1, "batch_size is 0"),
    f"{EMBED} {MODEL} --workers=-1": (1, "workers is -1"),
    f"{EMBED} {MODEL} --device gpu": (1, "no device 'gpu'; did you mean cuda?"),
    f"{EMBED} {MODEL} --device cdua": (1, "no device 'cdua'; did you mean cuda?"),
    f"{EMBED} {MODEL} --bogus": (2, "--bogus"),
    f"{EMBED}": (2, "give --model, an encoder, or --probe, a fitted one with its encoder"),
    f"{EMBED} {MODEL} --probe probe": (2, "give --model, an encoder, or --probe"),
    f"{EMBED} --probe probe --pools cls": (2, "--probe says what is read; leave out --layers, --pools"),
    f"{EMBED} --probe nowhere": (1, "no probe in nowhere"),
    f"embed nowhere --out new.parquet {MODEL}": (1, "nowhere"),
    f"embed woood --out new.parquet {MODEL}": (1, "no folder woood; did you mean wood?"),
    f"{EMBED} --model local-dir:runn": (
        1,
        "no encoder in runn (No such file or directory: config.json); did you mean run?",
    ),
    f"embed empty --out new.parquet {MODEL}": (1, "no recordings in empty"),
    f"embed wood --out new.txt {MODEL}": (1, "must end in"),
    f"embed wood --out old.parquet {MODEL}": (1, "old.parquet exists already"),
    f"embed wood --out nowhere/new.parquet {MODEL}": (1, "no folder nowhere"),
    # predict
    f"{PREDICT} --probe nowhere": (1, "no probe in nowhere"),
    f"{PREDICT} --probe probbe": (1, "no probe in probbe: there is no such folder; did you mean probe?"),
    f"{PREDICT} --probe torn": (1, "no weights at torn/probe.safetensors"),
    f"{PREDICT} --probe lost": (1, "the probe in lost needs its encoder: no encoder in"),
    f"{PREDICT} --probe probe --threshold 0.5": (2, "--threshold is for detections"),
    f"{PREDICT} --probe probe --detections new.txt --threshold 70": (1, "threshold is 70"),
    f"{PREDICT} --probe probe --detections new.csv": (1, "expected FILE.txt for Raven"),
    f"{PREDICT} --probe probe --hop 0": (1, "hop is 0.0 s"),
    f"{PREDICT} --probe probe --device gpu": (1, "no device 'gpu'"),
    "predict empty --out new.parquet --probe probe": (1, "no recordings in empty"),
    "predict wood --out old.parquet --probe probe": (1, "old.parquet exists already"),
    "predict wood --probe probe": (2, "nothing to write"),
    # the others
    "export bat_base new.onxx": (1, "ends in .onnx"),
    "export bat_tyni new.onnx": (1, "no model 'bat_tyni'"),
    "export bat_base old.onnx": (1, "old.onnx exists already"),
    "export local-dir:run new.onnx --probe nowhere": (1, "no probe in nowhere"),
    "convert bird_mae_base.xcl wood": (1, "wood is not empty"),
    "convert bird_mae_bse new": (1, "no official checkpoint 'bird_mae_bse'"),
    "convert beats_base.as2m new": (1, "beats_base.as2m has no weights to fetch"),
    "convert beats_base.as2m new --checkpoint none.pt": (1, "no weights at none.pt"),
    "download bird_mae_bse": (1, "no model 'bird_mae_bse'"),
    "download bat_tiny": (1, "bat_tiny has no weights to fetch"),
    "download hf-hub:a/b/c": (1, "is not the name of a repository"),
    "publish nowhere robin/bird --licence mit": (1, "no encoder in nowhere"),
    "publish run robin --licence mit": (1, "'robin' is not the name of a repository"),
    PUBLISH: (1, "licence not given"),
    f"{PUBLISH} --licence free": (1, "licence free; choose one"),
    f"{PUBLISH} --licence mit --tag main": (1, "'main' cannot be a tag"),
    f"{PUBLISH} --licence mit --scores none.json": (1, "none.json cannot be read"),
    "publish torn robin/bird --licence mit": (1, "no weights at torn/probe.safetensors"),
    "merge new.parquet none.parquet": (1, "no table none.parquet"),
    "merge new.parquet odl.parquet": (1, "no table odl.parquet; did you mean old.parquet?"),
    "merge old.parquet none.parquet": (1, "old.parquet exists already"),
    "shards wood new --rate 0": (1, "a rate of 0 Hz"),
    "shards wood new --rate 16000 --size big": (2, "size 'big'"),
    "shards nowhere new --rate 16000": (1, "no folder nowhere"),
    "shards wood empty/full --rate 16000": (1, "holds other files, such as note.txt"),
    "shards --check nowhere": (1, "no shards in nowhere"),
    "quickstart --out wood": (1, "wood is not empty and no quickstart made it"),
    "quickstart --table nowhere.csv --out new": (1, "nowhere.csv"),
    "chorus wood": (1, "wood"),
    "compare none.jsonl": (1, "no results none.jsonl"),
    "compare results.jsonl --task hsn": (2, "has no runs of 'hsn'"),
    "compare none --paired nowhere": (1, "no predictions nowhere/predictions.parquet"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording, an encoder, a probe and what is wrong with them."""
    place = tmp_path_factory.mktemp("start")
    for name in ("wood", "empty/full", "bare"):
        (place / name).mkdir(parents=True)
    soundfile.write(place / "wood/a.wav", np.zeros(16_000), 16_000)
    (place / "empty/full/note.txt").touch()
    for name in ("old.parquet", "old.onnx"):
        (place / name).touch()
    add_run(place / "results.jsonl", Run("garden", "my_encoder", "LinearProbe", 0, {"accuracy": 0.5}, {}))
    torch.manual_seed(0)
    encoder = save_pretrained(BAT(dim=48, depth=2, heads=4, seconds=1.0), place / "run/encoder")
    (place / "bare/config.json").write_bytes((encoder / "config.json").read_bytes())
    for name in ("probe", "torn", "lost"):
        save_probe(fitted_on(f"local-dir:{encoder}", "garden"), place / name)
    (place / "torn/probe.safetensors").unlink()
    lost = json.loads((place / "lost/probe.json").read_text())
    lost["encoder"]["model"] = f"local-dir:{place}/gone"
    (place / "lost/probe.json").write_text(json.dumps(lost))
    return place


@pytest.fixture(scope="module")
def called(place: Path) -> dict[str, Any]:
    """What every call came to, by its arguments: exit code, standard output and error, slow modules that it has loaded."""
    cases = [call.split() for call in [*SHOWN, *REFUSED]]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], input=json.dumps(cases), capture_output=True, text=True, cwd=place, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("call", SHOWN)
def test_help_and_lists_need_no_torch(call: str, called: dict[str, Any]) -> None:
    assert call in called, f"not reached: an earlier call has loaded {list(called.values())[-1][-1]}"
    code, out, err, slow = called[call]
    assert (code, err, slow) == (0, "", [])
    assert SHOWN[call] in out


@pytest.mark.parametrize("call", REFUSED)
def test_what_arguments_and_files_tell_is_refused_without_torch(call: str, called: dict[str, Any]) -> None:
    assert call in called, f"not reached: an earlier call has loaded {list(called.values())[-1][-1]}"
    code, out, err, slow = called[call]
    expected, words = REFUSED[call]
    assert words in err
    assert (code, out, slow) == (expected, "", [])
    assert err.count("\n") == 1, "one line, and none that says that PyTorch is loaded"


def test_what_loads_torch_says_so_first(place: Path) -> None:
    arguments = "embed wood --model local-dir:run --out loaded.parquet --workers 0".split()
    code = f"""
import sys
from oscine.cli import dispatch

class Error:
    def write(self, text):
        sys.__stdout__.write(("torch" if "torch" in sys.modules else "none") + " " + text + chr(10))
    def flush(self):
        pass

sys.stderr = Error()
dispatch({arguments})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=place, check=True)
    said = [line for line in done.stdout.splitlines() if line.startswith(("none ", "torch ")) and line.split()[1:]]
    assert said[0] == "none oscine embed: loading PyTorch, then local-dir:run ..."
    assert all(line.startswith("torch ") for line in said[1:])
    assert len(said) > 2


def test_every_name_of_a_device_that_is_offered_is_one_of_torchs() -> None:
    for name in set(DEVICES) - {"auto"}:
        assert torch.device(name).type == name


def test_models_lists_what_the_table_has(called: dict[str, Any]) -> None:
    assert set(ARCHITECTURES) <= {line.split(" ")[0] for line in called["models"][1].splitlines()}
