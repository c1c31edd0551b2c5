"""Stores are shared by all that they have enough for, and together keep within their folder's limit."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.probe.features import store
from oscine.probe.features.encoding import Encoding
from oscine.probe.features.store import Store, bytes_below, open_store
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.task import Task, read_task
from tests.forked import FORK, PATIENCE, ended, started
from tests.kept_noise import EVERYTHING, ROWS, contents, folders, opened, same, shuffled, tiny_bat

# One store for all


@pytest.mark.parametrize(
    ("held", "wanted", "exact"),
    [
        (EVERYTHING, Needs([-1], ("patches",)), True),
        (EVERYTHING, Needs([1, 0], ("cls", "pooled")), True),
        (EVERYTHING, Needs([-1], ("pooled",)), True),
        (Needs([-1], ("frames", "mean")), Needs([2], ("frames",)), True),
        (EVERYTHING, Needs([-1], ("bands",)), False),
        (EVERYTHING, Needs(None, ("mean", "cls")), False),
        (Needs(None, ("frames",)), Needs([0], ("mean",)), False),
    ],
)
def test_a_store_that_holds_more_serves_as_well(
    bat: Encoder, task: Task, tmp_path: Path, held: Needs, wanted: Needs, exact: bool
) -> None:
    opened(bat, task, tmp_path, held)
    before = contents(tmp_path)
    shared = opened(bat, task, tmp_path, wanted).take(shuffled())
    assert contents(tmp_path) == before
    own = opened(bat, task, tmp_path / "own", wanted).take(shuffled())
    if exact:
        assert same(shared, own)
    torch.testing.assert_close(tuple(shared), tuple(own), rtol=2**-10, atol=2**-10)  # of values about 1, each rounded


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (Needs([-1], ("patches",)), Needs([0], ("patches",))),
        (Needs([-1], ("patches",)), Needs(None, ("patches",))),
        (Needs(None, ("patches",)), Needs([-1], ("cls",))),
        (Needs(None, ("cls",)), Needs([-1], ("mean",))),
        (Needs(None, ("cls", "mean")), Needs([-1], ("frames",))),
        (Needs(None, ("frames",)), Needs([-1], ("bands",))),
        (Needs(None, ("cls",)), Needs([-1], ("pooled",))),
    ],
)
def test_a_store_that_lacks_something_does_not(
    bat: Encoder, task: Task, tmp_path: Path, held: Needs, wanted: Needs
) -> None:
    opened(bat, task, tmp_path, held)
    opened(bat, task, tmp_path, wanted)
    assert len(folders(tmp_path)) == 2


def test_a_damaged_store_of_others_is_passed_over(
    bat: Encoder, task: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "BEATs-1").mkdir()
    (tmp_path / "BEATs-1" / "store.json").write_text("[" * 5000)
    opened(bat, task, tmp_path, Needs([-1], ("cls",)))
    assert "a store is passed over: " in caplog.text


def test_what_is_there_is_neither_encoded_nor_written_again(bat: Encoder, task: Task, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    for _ in range(2):
        open_store(Encoding(bat, task, EVERYTHING, batch_size=5), tmp_path, progress=lambda *done: told.append(done))
    assert told == [(5, ROWS), (10, ROWS), (ROWS, ROWS)]


def test_labels_and_folds_share_a_store(bat: Encoder, task: Task, tmp_path: Path) -> None:
    opened(bat, task, tmp_path)
    opened(bat, dataclasses.replace(task, targets=1 - task.targets, parts=task.parts[:1], classes=["x", "y"]), tmp_path)
    assert len(folders(tmp_path)) == 1


def louder(encoder: Encoder, task: Task) -> tuple[Encoder, Task]:
    with torch.no_grad():
        encoder.patch_embed.proj.weight.mul_(1.0001)
    return encoder, task


def later(encoder: Encoder, task: Task) -> tuple[Encoder, Task]:
    return encoder, dataclasses.replace(task, rows=task.rows.assign(start=task.rows["start"].fillna(0.0) + 0.01))


def fewer(encoder: Encoder, task: Task) -> tuple[Encoder, Task]:
    return encoder, dataclasses.replace(task, rows=task.rows[1:])


def swapped(encoder: Encoder, task: Task) -> tuple[Encoder, Task]:
    return encoder, dataclasses.replace(task, rows=task.rows[::-1])


def finer(encoder: Encoder, task: Task) -> tuple[Encoder, Task]:
    other = BAT(**encoder.config | {"hop": 80})
    other.load_state_dict(encoder.state_dict())
    return other.eval(), task


@pytest.mark.parametrize("change", [louder, later, fewer, swapped, finer])
def test_another_encoder_or_other_rows_have_a_store_of_their_own(
    bat: Encoder, task: Task, tmp_path: Path, change: Callable[[Encoder, Task], tuple[Encoder, Task]]
) -> None:
    opened(bat, task, tmp_path)
    opened(*change(bat, task), tmp_path)
    assert len(folders(tmp_path)) == 2


@pytest.mark.parametrize("how", [{"seconds": 0.3}, {"dtype": "float32"}])
def test_other_settings_have_a_store_of_their_own(
    bat: Encoder, task: Task, tmp_path: Path, how: dict[str, Any]
) -> None:
    opened(bat, task, tmp_path)
    opened(bat, task, tmp_path, **how)
    assert len(folders(tmp_path)) == 2


def test_a_recording_that_was_changed_is_encoded_again(bat: Encoder, tmp_path: Path) -> None:
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", np.full(8000, 0.1 * (1 + number)), 16_000)
    (tmp_path / "table.csv").write_text("path,label,fold\n0.wav,a,0\n1.wav,b,1")
    task = read_task(tmp_path / "table.csv")
    before = opened(bat, task, tmp_path / "stores").take(torch.arange(2))
    soundfile.write(tmp_path / "1.wav", np.random.default_rng(0).uniform(-0.4, 0.4, 8000), 16_000)
    after = opened(bat, task, tmp_path / "stores").take(torch.arange(2))
    assert torch.equal(before.pooled[0], after.pooled[0])
    assert not torch.equal(before.pooled[1], after.pooled[1])


def test_a_recording_that_is_gone_is_named(bat: Encoder, task: Task, tmp_path: Path) -> None:
    rows = task.rows.assign(path=[*task.rows["path"][:-1], str(tmp_path / "gone.wav")])
    with pytest.raises(OscineError, match=r"gone\.wav could not be opened \(No such file or directory\)"):
        opened(bat, dataclasses.replace(task, rows=rows), tmp_path)


# Room for it


def sized(needs: Needs) -> int:
    """Bytes of a store of all rows."""
    rows = pd.DataFrame({"path": [""] * ROWS})
    return Encoding(tiny_bat(), Task(rows, [], torch.empty(0, 0), []), needs).nbytes


CLS, MEAN, POOLED = (Needs(None, (part,)) for part in ("cls", "mean", "pooled"))


def asked(task: Task, root: Path, needs: Needs, limit: int) -> Store | Encoding:
    return open_store(Encoding(tiny_bat(), task, needs, batch_size=7), root, limit=limit)


def kept(root: Path) -> list[tuple[str, ...]]:
    """Which parts the stores hold, sorted."""
    said = [json.loads(path.read_text()) for path in root.glob("*/store.json")]
    return sorted(tuple(name for name in ("cls", "patches", "pooled") if 0 not in one["kept"][name]) for one in said)


def test_the_limit_is_of_all_stores_together_and_those_unused_for_longest_go(
    task: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert sized(CLS) == sized(MEAN)
    limit = 2 * sized(CLS) + sized(POOLED) - 1
    for needs in (CLS, MEAN, CLS):  # so that the mean is the one unused for longest
        assert isinstance(asked(task, tmp_path, needs, limit), Store)
    assert not caplog.records
    assert bytes_below(tmp_path) == sized(CLS) + sized(MEAN)
    assert isinstance(asked(task, tmp_path, POOLED, limit), Store)
    assert kept(tmp_path) == [("cls",), ("pooled",)]
    assert bytes_below(tmp_path) == sized(CLS) + sized(POOLED)
    (said,) = caplog.messages
    assert said.startswith(f"removing {tmp_path}/BAT-")
    assert f"features of {os.path.dirname(task.rows['path'][0])}, made by BAT, not used since 20" in said
    assert len(folders(tmp_path)) == 2


def test_no_more_goes_than_has_to(task: Task, tmp_path: Path) -> None:
    for needs in (POOLED, CLS, MEAN):
        asked(task, tmp_path, needs, limit=10**9)
    asked(task, tmp_path, Needs([0], ("cls", "mean")), limit=bytes_below(tmp_path) + sized(Needs([0], ("cls",))))
    assert kept(tmp_path) == [("cls",), ("cls", "patches"), ("patches",)]


def test_where_removing_all_would_not_help_all_stays(
    task: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked(task, tmp_path, CLS, limit=sized(CLS))
    before = contents(tmp_path)
    assert isinstance(asked(task, tmp_path, EVERYTHING, limit=sized(EVERYTHING) - 1), Encoding)
    assert contents(tmp_path) == before
    (said,) = caplog.messages
    assert said.endswith("a clip is encoded whenever it is needed")


def test_what_this_process_uses_stays_until_it_is_let_go(task: Task, tmp_path: Path) -> None:
    first, again = asked(task, tmp_path, CLS, sized(CLS)), asked(task, tmp_path, CLS, sized(CLS))
    usual = first.take(torch.arange(ROWS))
    del again  # the other one is still there
    assert isinstance(asked(task, tmp_path, MEAN, sized(CLS)), Encoding)
    assert same(first.take(torch.arange(ROWS)), usual)
    del first
    assert isinstance(asked(task, tmp_path, MEAN, sized(CLS)), Store)
    assert kept(tmp_path) == [("patches",)]


def use(task: Task, root: Path, limit: int, until: Any) -> None:
    """Opens a store, says so, reads when told to and says what it read."""
    found = asked(task, root, CLS, limit)
    until.send(isinstance(found, Store))
    until.recv()
    until.send(found.take(torch.arange(ROWS)).cls)
    until.recv()


def test_what_another_process_uses_stays_until_that_ends(task: Task, tmp_path: Path) -> None:
    mine, theirs = FORK.Pipe()
    process = started(use, task, tmp_path, sized(CLS), theirs)
    assert mine.poll(PATIENCE)
    assert mine.recv()
    assert isinstance(asked(task, tmp_path, MEAN, sized(CLS)), Encoding)
    mine.send(None)
    assert mine.poll(PATIENCE)
    assert torch.equal(mine.recv(), Encoding(tiny_bat(), task, CLS, batch_size=7).take(torch.arange(ROWS)).cls)
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    assert isinstance(asked(task, tmp_path, MEAN, sized(CLS)), Store)
    assert kept(tmp_path) == [("patches",)]


def write_slowly(task: Task, root: Path, needs: Needs, limit: int, answer: Any) -> None:
    found = open_store(
        Encoding(tiny_bat(), task, needs), root, limit=limit, progress=lambda done, total: time.sleep(0.02)
    )
    answer.send(isinstance(found, Store))


def test_two_processes_never_take_more_than_the_limit_together(task: Task, tmp_path: Path) -> None:
    pipes = [FORK.Pipe(duplex=False) for _ in range(3)]
    limit = 2 * sized(CLS)
    processes = [
        started(write_slowly, task, tmp_path, needs, limit, pipe[1])
        for needs, pipe in zip((CLS, MEAN, Needs(None, ("frames",))), pipes, strict=True)
    ]
    stored = []
    while any(process.is_alive() for process in processes):
        assert bytes_below(tmp_path) <= limit, "what is being written counts as a whole"
        time.sleep(0.01)
    for process, (reading, _) in zip(processes, pipes, strict=True):
        ended(process)
        assert reading.poll(PATIENCE)
        stored.append(reading.recv())
    assert stored[:2].count(True) >= 1
    assert not stored[2], "frames are larger than the limit"
    assert bytes_below(tmp_path) <= limit


def die_in_the_middle(task: Task, root: Path) -> None:
    def kill(done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    open_store(Encoding(tiny_bat(), task, CLS), root, progress=kill)


def test_a_store_that_is_not_whole_counts_as_if_it_were(task: Task, tmp_path: Path) -> None:
    ended(started(die_in_the_middle, task, tmp_path))
    assert bytes_below(tmp_path) == sized(CLS)
    assert isinstance(asked(task, tmp_path, MEAN, sized(CLS)), Store)
    assert kept(tmp_path) == [("patches",)]


def test_a_store_that_is_gone_on_with_does_not_make_room_for_itself(task: Task, tmp_path: Path) -> None:
    ended(started(die_in_the_middle, task, tmp_path))
    (before,) = folders(tmp_path)
    assert isinstance(open_store(Encoding(tiny_bat(), task, CLS), tmp_path, limit=sized(CLS)), Store)
    assert folders(tmp_path) == {before}


def die_while_removing(task: Task, root: Path, files: int) -> None:
    left, unlink = files, Path.unlink

    def dying(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if path.parent.parent == root:
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        unlink(path, missing_ok)

    Path.unlink = dying  # type: ignore[method-assign]
    asked(task, root, MEAN, sized(CLS))


@pytest.mark.parametrize("files", range(4))
def test_killed_while_it_removes_a_store_the_rest_of_it_is_known_and_goes(
    task: Task, tmp_path: Path, files: int
) -> None:
    asked(task, tmp_path, CLS, sized(CLS))
    process = started(die_while_removing, task, tmp_path, files)
    ended(process)
    assert process.exitcode == -signal.SIGKILL
    assert bytes_below(tmp_path) == sized(CLS)
    again = asked(task, tmp_path, CLS, sized(CLS))
    assert same(again.take(torch.arange(ROWS)), Encoding(tiny_bat(), task, CLS, batch_size=7).take(torch.arange(ROWS)))
    del again
    assert isinstance(asked(task, tmp_path, MEAN, sized(CLS)), Store)
    assert len(folders(tmp_path)) == 1


def test_what_somebody_else_has_put_there_stays(task: Task, tmp_path: Path) -> None:
    asked(task, tmp_path, CLS, sized(CLS))
    (folder,) = tmp_path.glob("BAT-*")
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "cls.npy").write_bytes(b"mine")
    assert isinstance(asked(task, tmp_path, MEAN, sized(CLS)), Store)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert (tmp_path / "other" / "cls.npy").read_bytes() == b"mine"


def test_a_place_that_may_only_be_read_serves_what_it_has(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = asked(task, tmp_path, CLS, sized(CLS)).take(torch.arange(ROWS))
    opening = Path.open

    def read_only(path: Path, mode: str = "r", *arguments: Any, **how: Any) -> Any:
        if path.is_relative_to(tmp_path) and mode != "rb" and mode != "r":
            raise PermissionError(13, "Permission denied")
        return opening(path, mode, *arguments, **how)

    def refused(*arguments: Any, **how: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", read_only)
    monkeypatch.setattr(os, "utime", refused)
    found = asked(task, tmp_path, CLS, sized(CLS))
    assert isinstance(found, Store)
    assert same(found.take(torch.arange(ROWS)), usual)
    with pytest.raises(OscineError, match="could not be written"):
        asked(task, tmp_path, MEAN, 10**9)
    assert kept(tmp_path) == [("cls",)]


def test_where_there_are_no_locks_nothing_is_removed(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    for kind, names in ((filelock.FileLock, ["acquire"]), (filelock.ReadWriteLock, ["acquire_read", "acquire_write"])):
        for name in names:
            monkeypatch.setattr(kind, name, acquire)
    asked(task, tmp_path, CLS, sized(CLS))
    assert isinstance(asked(task, tmp_path, MEAN, sized(CLS)), Encoding)
    assert kept(tmp_path) == [("cls",)]


def test_what_does_not_fit_on_the_disk_is_not_begun(
    bat: Encoder, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encoding = Encoding(bat, task, EVERYTHING, batch_size=3)
    usage = type("Usage", (), {"free": encoding.nbytes - 1})
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage)
    assert open_store(encoding, tmp_path / "stores") is encoding
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert not folders(tmp_path / "stores")
    monkeypatch.setattr(usage, "free", encoding.nbytes)
    assert isinstance(open_store(encoding, tmp_path / "stores"), Store)
    monkeypatch.setattr(usage, "free", 0)
    assert isinstance(open_store(encoding, tmp_path / "stores"), Store), "what is there needs no room"


def test_a_place_that_cannot_be_written_is_said_in_one_line(bat: Encoder, task: Task, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OscineError, match=r"file/stores could not be written \(Not a directory\).*\Z"):
        opened(bat, task, tmp_path / "file/stores")
