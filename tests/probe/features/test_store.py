"""Encoded once and kept: the numbers that encoding gives every time, whatever happened on the way."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.probe.features import store
from oscine.probe.features.encoding import Encoding, encode_task
from oscine.probe.features.store import Store, open_store
from oscine.probe.fit.judge import judge
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.attentive import AttentiveProbe
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.probe import Needs, Probe
from oscine.probe.heads.prototypical import PrototypicalProbe
from oscine.probe.tasks.task import Task
from tests.forked import FORK, PATIENCE, Bomb, ended, started
from tests.kept_noise import EVERYTHING, ROWS, contents, opened, same, shuffled

HEADER = 128  # bytes of a NumPy file before its numbers

PROBES: dict[str, Callable[[Encoder, int], Probe]] = {
    "linear": lambda encoder, classes: LinearProbe(encoder, classes, pool="bands", norm="batch"),
    "attentive": AttentiveProbe,
    "prototypical": lambda encoder, classes: PrototypicalProbe(encoder, classes, prototypes_per_class=4),
    "convex gated": lambda encoder, classes: ConvexGatedProbe(encoder, classes, prototypes=24),
}
every_probe = pytest.mark.parametrize("name", PROBES)


# What is kept


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_store_has_the_bits_that_encoding_gives(encoder: Encoder, task: Task, tmp_path: Path, dtype: str) -> None:
    encoding = Encoding(encoder, task, EVERYTHING, batch_size=3, dtype=dtype)
    kept = open_store(encoding, tmp_path)
    assert isinstance(kept, Store)
    for rows in (torch.arange(ROWS), shuffled(), shuffled()[:5]):
        assert same(kept.take(rows), encoding.take(rows))


# Half a unit in the last place of float16; what is far below 1 is as far off as other batches are from each other.
@pytest.mark.parametrize(("dtype", "rounding"), [("float16", 2**-11), ("float32", 1e-5)])
def test_a_store_has_the_usual_features_up_to_its_rounding(
    encoder: Encoder, task: Task, tmp_path: Path, dtype: str, rounding: float
) -> None:
    kept = opened(encoder, task, tmp_path, dtype=dtype).take(torch.arange(ROWS))
    for mine, usual in zip(kept, encode_task(encoder, task, EVERYTHING), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, usual, rtol=rounding, atol=1e-5)


@pytest.mark.parametrize(
    "needs",
    [
        EVERYTHING,
        Needs([-1], ("cls",)),
        Needs([-1], ("pooled",)),
        Needs([2, 0], ("mean",)),
        Needs([-1], ("cls", "bands")),
        Needs(None, ("frames",)),
        Needs(None, ("frames", "bands")),
    ],
)
def test_only_what_is_needed_is_on_disk_and_its_size_is_known_before(
    bat: Encoder, task: Task, tmp_path: Path, needs: Needs
) -> None:
    kept = opened(bat, task, tmp_path, needs)
    usual = encode_task(bat, task, needs)
    torch.testing.assert_close(tuple(kept.take(torch.arange(ROWS))), tuple(usual), rtol=2**-11, atol=1e-5)
    files = {path.stem: path.stat().st_size - HEADER for path in tmp_path.glob("*/*.npy")}
    assert files == {name: 2 * part.numel() for name, part in usual._asdict().items() if part.numel()}
    assert Encoding(bat, task, needs).nbytes == sum(files.values())
    assert Encoding(bat, task, needs, dtype="float32").nbytes == 2 * sum(files.values())


def test_the_size_of_another_length_of_clip_is_known_too(bat: Encoder, task: Task, tmp_path: Path) -> None:
    kept = opened(bat, task, tmp_path, seconds=0.2)
    short = Encoding(bat, task, EVERYTHING, seconds=0.2).nbytes
    assert short == sum(2 * part.numel() for part in kept.take(torch.arange(ROWS)))
    assert short < Encoding(bat, task, EVERYTHING).nbytes


def test_the_rows_of_a_clip_lie_together_in_files_that_numpy_reads(bat: Encoder, task: Task, tmp_path: Path) -> None:
    kept = opened(bat, task, tmp_path)
    (file,) = tmp_path.glob("*/patches.npy")
    patches = np.load(file)
    assert patches.shape == (ROWS, 3, *bat.grid, 24)
    assert (patches.dtype, patches.flags.c_contiguous) == (np.float16, True)
    np.testing.assert_array_equal(patches[5], kept.take(torch.tensor([5])).patches[:, 0])


def test_a_folder_says_what_it_is_of(bat: Encoder, task: Task, tmp_path: Path) -> None:
    bat.provenance = {"model": "bat_tiny.noise"}
    opened(bat, task, tmp_path, Needs([-1], ("mean",)))
    (path,) = tmp_path.glob("*/store.json")
    said = json.loads(path.read_text())
    assert path.parent.name.startswith("BAT-")
    assert (said["model"], said["recordings"]) == ("bat_tiny.noise", os.path.dirname(task.rows["path"][0]))
    assert said["kept"] == {"layers": [2], "cls": [1, 0], "patches": [1, 1, 1, 24], "pooled": [0]}
    assert (said["done"], said["bytes"]) == (ROWS, 2 * 24 * ROWS)
    assert said["of"]["config"] == bat.config


@pytest.mark.parametrize(
    ("factor", "dtype", "complaint"),
    [
        (1e6, "float16", r"features reach \d+, beyond float16; take dtype float32"),
        (math.nan, "float32", "are not finite; its weights are broken"),
    ],
)
def test_what_cannot_be_kept_is_said_and_nothing_is(
    bat: Encoder, task: Task, tmp_path: Path, factor: float, dtype: str, complaint: str
) -> None:
    with torch.no_grad():
        bat.blocks[-1].norm2.weight.mul_(factor)  # type: ignore[union-attr, operator]
    with pytest.raises(OscineError, match=complaint):
        opened(bat, task, tmp_path, dtype=dtype)
    assert done(tmp_path) == 0


def test_the_encoder_is_left_as_it_was(bat: Encoder, task: Task, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in bat.state_dict().items()}
    random = torch.get_rng_state()
    open_store(Encoding(bat.train(), task, EVERYTHING, batch_size=3), tmp_path)
    assert all(module.training for module in bat.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in bat.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


# Scores


@every_probe
def test_a_probe_has_the_same_logits_from_a_store_and_from_encoding_on_the_fly(
    bat: Encoder, task: Task, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def make_probe() -> Probe:
        return PROBES[name](bat, 2)

    settings = FitSettings(steps=6, warmup=1, batch_size=4, lr=1e-2)
    encoding = Encoding(bat, task, make_probe().needs, batch_size=3)
    kept, anew = open_store(encoding, tmp_path), open_store(encoding, tmp_path / "none", limit=100)
    assert isinstance(kept, Store)
    assert anew is encoding
    assert "a clip is encoded whenever it is needed" in caplog.text
    usual = encode_task(bat, task, make_probe().needs)
    logits = [judge(make_probe, features, task, settings).logits for features in (kept, anew, usual)]
    assert all(torch.equal(mine, other) for mine, other in zip(logits[0], logits[1], strict=True))
    for mine, other in zip(logits[0], logits[2], strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0.02)  # float16 keeps 3 digits; logits are about 1


# What may happen on the way


def make(encoder: Encoder, task: Task, root: Path, pause: float = 0.0, workers: int = 0) -> None:
    """A store in batches of 2, each of which is put on the disk for good, with time to be killed in."""
    store.SAVE_SECONDS = 0.0
    encoding = Encoding(encoder, task, EVERYTHING, batch_size=2)
    assert isinstance(open_store(encoding, root, workers=workers, progress=lambda *_: time.sleep(pause)), Store)


@pytest.fixture
def undisturbed(bat: Encoder, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    monkeypatch.setattr(store, "SAVE_SECONDS", 0.0)
    make(bat, task, tmp_path / "undisturbed")
    return contents(tmp_path / "undisturbed")


def done(root: Path) -> int:
    return sum(json.loads(path.read_bytes())["done"] for path in root.glob("*/store.json"))


@pytest.mark.parametrize(("workers", "seed"), [(0, 0), (0, 1), (1, 2)])
def test_killed_at_random_moments_it_goes_on_and_ends_the_same(
    bat: Encoder, task: Task, tmp_path: Path, undisturbed: dict[str, bytes], workers: int, seed: int
) -> None:
    moments, root = np.random.default_rng(seed), tmp_path / "stores"
    kills, before = 0, 0
    while (now := done(root)) < ROWS:
        assert now >= before, "what is done stays"
        before = now
        process = started(make, bat, task, root, pause=0.02, workers=workers)
        process.join(moments.uniform(0.03, 0.12) * 1.3**kills if kills < 15 else PATIENCE)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
    assert kills >= 2
    make(bat, task, root)
    assert contents(root) == undisturbed


def bombed(step: int, *arguments: Any) -> None:
    Bomb(step).arm()
    make(*arguments)


def test_killed_before_any_change_on_the_disk_it_ends_the_same(
    bat: Encoder, task: Task, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    ends = []
    for step in range(0, 80, 3):
        root = tmp_path / str(step)
        process = started(bombed, step, bat, task, root)
        ended(process)
        ends.append(process.exitcode)
        make(bat, task, root)
        assert contents(root) == undisturbed
        if process.exitcode == 0:
            break
    assert ends[-1] == 0
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert len(ends) > 10


@pytest.mark.parametrize("harm", ["shortened", "removed"])
def test_a_file_that_lost_something_is_made_again(
    bat: Encoder, task: Task, tmp_path: Path, undisturbed: dict[str, bytes], harm: str
) -> None:
    root = tmp_path / "undisturbed"
    (file,) = root.glob("*/cls.npy")
    os.truncate(file, file.stat().st_size - 1000) if harm == "shortened" else file.unlink()
    make(bat, task, root)
    assert contents(root) == undisturbed


def test_two_processes_that_want_the_same_store_both_get_it(
    bat: Encoder, task: Task, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    root = tmp_path / "stores"
    both = [started(make, bat, task, root, pause=0.02) for _ in range(2)]
    for process in both:
        ended(process)
    assert [process.exitcode for process in both] == [0, 0]
    assert contents(root) == undisturbed


def complaint(limit: int, answer: Any, *arguments: Any) -> None:
    """What is said where no file may be longer than a number of bytes, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        make(*arguments)
    except OscineError as error:
        answer.send(str(error))
    else:
        answer.send("")


@pytest.mark.parametrize("limit", [50, 3000, 20_000])
def test_a_full_disk_is_one_line_and_with_more_room_it_goes_on(
    bat: Encoder, task: Task, tmp_path: Path, undisturbed: dict[str, bytes], limit: int
) -> None:
    root = tmp_path / "stores"
    reading, writing = FORK.Pipe(duplex=False)
    process = started(complaint, limit, writing, bat, task, root)
    assert reading.poll(PATIENCE)
    said = reading.recv()
    ended(process)
    assert "could not be written (File too large); make room or choose another place; what is done is kept" in said
    assert "\n" not in said
    assert done(root) < ROWS
    make(bat, task, root)
    assert contents(root) == undisturbed


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused_when_they_are_read(
    bat: Encoder, task: Task, tmp_path: Path, number: float
) -> None:
    kept = open_store(Encoding(bat, task, EVERYTHING, batch_size=3), tmp_path)
    assert isinstance(kept, Store)
    array = np.load(kept.folder / "patches.npy", mmap_mode="r+")
    array[1].flat[5] = number
    array.flush()
    kept.take(torch.tensor([0, 2]))
    with pytest.raises(
        OscineError, match=r"patches.npy holds numbers that are not finite; delete .*, which is encoded again"
    ):
        kept.take(torch.tensor([0, 1]))
