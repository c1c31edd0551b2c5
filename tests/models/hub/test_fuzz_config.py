"""Files of strangers, damaged at random: each is read, or refused in one line; nothing hangs, nothing else is raised."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from oscine.cli.console import config
from oscine.models.encoders.base.provenance import Origin, read_origin
from oscine.models.errors import OscineError
from oscine.models.hub.checksummed import save_checksummed
from oscine.models.hub.folder import load_pretrained, save_pretrained
from oscine.models.hub.weights import load_weights
from oscine.models.publish.scores import read_scores
from oscine.models.zoo import check_model, create_model
from oscine.pretrain.run.checkpoint import encoder_with_weights
from oscine.pretrain.run.record import read_record, save_with_record, step_of
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.named_probe import check_probe
from oscine.probe.deploy.saved_probe import load_probe, save_probe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.results.runs import Run, add_run, own_rows, read_runs
from oscine.probe.tasks.kinds import TaskKind

TIMES = 60  # damages of each file
SLOWEST = 10.0  # seconds of one; each takes milliseconds
WORST = [
    None, True, -1, 0, 7, 0.5, 1e-320, 1e308, 10**9, 10**30, 10**400, float("nan"), float("inf"), "", "x", "\ud800", "../..",
    "a\nb", "x" * 5000, [], [1], [[]], {}, {"a": 1}, {"class_path": "os.system"}, "local-dir:/", "hf-hub:a/b/c",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind: an encoder's folder, a probe's, a run's with its state, results, scores, a YAML, a torch file."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("whole")
    encoder = create_model("bat_tiny", **TINY)
    encoder.origin = Origin("wren", "wren.pt", "0" * 64, "MIT", trained=True)
    save_pretrained(encoder, folder / "encoder")
    head = {"pool": "bands", "norm": "batch", "dropout": 0.0}
    fitted = FittedProbe(LinearProbe(encoder, 3, **head).eval(), encoder, head, ["a", "b", "c"], 0.6, TaskKind.MULTI)
    save_probe(fitted, folder / "probe", with_encoder=True)
    (folder / "run").mkdir()
    (folder / "run/settings.yaml").write_text(config.find("pretrain", "bat_tiny").read_text())
    save_with_record(encoder, folder / "run", folder / "run/encoder", 2)
    weights = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    described = {"architecture": "BAT", "config": encoder.config}
    (folder / "run/states").mkdir()
    save_checksummed(folder / "run/states/last.ckpt", {"global_step": 3, "encoder": described, "state_dict": weights})
    add_run(
        folder / "results.jsonl", Run("task", "wren", "linear", 0, {"f1": 0.5}, {"f1": None}, {"head": {"pool": "cls"}})
    )
    parts = {"fold 0": {"f1": 0.5}, "fold 1": {"f1": 0.7}}
    scores = {
        "oscine": "0.1.0", "task": "birds", "settings": {"name": "wren", "probe": "LinearProbe"}, "parts": parts,
        "mean": {"f1": 0.6}, "weights": {"sha256": "0" * 64},
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "wren.yaml").write_text(config.find("probe", "linear").read_text())
    torch.save({"model": encoder.state_dict()}, folder / "wren.pt")
    return folder


TINY = {"dim": 24, "depth": 1, "heads": 2, "seconds": 0.6}
# What reads each file, from the folder of all of them.
READERS: dict[str, Callable[[Path], Any]] = {
    "encoder/config.json": lambda place: (
        check_model(f"local-dir:{place / 'encoder'}"),
        load_pretrained(place / "encoder"),
    ),
    "encoder/model.safetensors": lambda place: load_pretrained(place / "encoder"),
    "encoder/source.json": lambda place: read_origin(place / "encoder"),
    "probe/probe.json": lambda place: (check_probe(place / "probe"), load_probe(place / "probe")),
    "probe/probe.safetensors": lambda place: load_probe(place / "probe"),
    "run/encoder/run.json": lambda place: (
        step_of(place / "run/encoder"),
        read_record(place / "run", place / "run/encoder"),
    ),
    "run/states/last.ckpt": lambda place: encoder_with_weights(str(place / "run")),
    "results.jsonl": lambda place: own_rows(read_runs(place / "results.jsonl"), "task"),
    "scores.json": lambda place: read_scores(str(place / "scores.json"), "0" * 64),
    "wren.yaml": lambda place: config.check_content(config.read(place / "wren.yaml"), "wren.yaml", ["resume"]),
    "wren.pt": lambda place: load_weights(create_model("bat_tiny", **TINY), place / "wren.pt"),
}


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Cut short, with bits flipped, a stretch doubled, lost, exchanged or overwritten, or brackets without end."""
    start, length = rng.randrange(len(content)), rng.randrange(1, 60)
    begin, piece, rest = content[:start], content[start : start + length], content[start + length :]
    flipped = bytes(byte ^ (1 << rng.randrange(8)) for byte in piece)
    return rng.choice(
        [
            begin, begin + flipped + rest, begin + piece + piece + rest, begin + rest, rest + begin,
            begin + bytes(length) + rest,
            begin + rng.choice([b"[", b"{", b"- ", b'{"a":', b"&a [*a, "]) * 5000 + rest, begin + b"9" * 5000 + rest,
            begin + "\u00e9\u2028".encode("utf-16") + rest,
        ]
    )  # fmt: skip


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every key or number of JSON, and of what is in it, with what it is in."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inside:
        yield content, key
        yield from places(value)


def damaged_json(content: Any, rng: random.Random) -> bytes:
    """With a value or two that are hostile, gone, or in another's place."""
    made = deepcopy(content)
    for _ in range(rng.choice([1, 1, 2])):
        found = list(places(made))
        place, key = rng.choice(found)
        if rng.random() < 0.15:
            del place[key]
        else:
            place[key] = rng.choice([*WORST, rng.choice(found)[1]])
    return json.dumps(made).encode()


def sealed(content: bytes) -> bytes:
    return content + sha256(content).digest()


def refusal(name: str, place: Path) -> str:
    """What is said of a file that is not read."""
    try:
        READERS[name](place)
    except OscineError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_read_or_refused_in_one_line(name: str, whole: Path) -> None:
    rng, path = random.Random(name), whole / name
    content, refused = path.read_bytes(), 0
    READERS[name](whole)
    try:
        for number in range(TIMES):
            if path.suffix in (".json", ".jsonl") and number % 3:
                path.write_bytes(damaged_json(json.loads(content), rng))
            elif path.suffix == ".ckpt" and number % 3:
                path.write_bytes(sealed(damaged_bytes(content[:-32], rng)))
            else:
                path.write_bytes(damaged_bytes(content, rng))
            begun = time.monotonic()
            said = refusal(name, whole)
            assert time.monotonic() - begun < SLOWEST
            assert "\n" not in said
            assert "weights_only" not in said
            refused += bool(said)
    finally:
        path.write_bytes(content)
    assert refused > TIMES // 5 or name == "results.jsonl", "of that file, lines that are no runs are left out"
    READERS[name](whole)
