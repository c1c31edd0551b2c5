"""Killed at any moment and called again, `embed_folder` gives the very table that it would have given undisturbed."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from oscine.models.embed import clips, journal
from oscine.models.embed import job as parts
from oscine.models.embed.embed import embed_folder
from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.embed.progress import Forecast, Progress, Watcher
from oscine.models.embed.table import read_listed
from oscine.models.embed.table_metadata import errors_path
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.models.locks import Lock
from tests.forked import FORK, PATIENCE, Bomb, ended, started


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a second and parts of six clips or more, so that recordings reach over parts."""
    monkeypatch.setattr(clips, "CHUNK_SECONDS", 1)
    monkeypatch.setattr(parts, "BATCHES", 2)


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return BAT(dim=48, depth=2, heads=4, seconds=0.5).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good recordings; one cut short, one with numbers gone wrong late, one that is none."""
    folder = tmp_path_factory.mktemp("recordings")
    noise = np.random.default_rng(0)
    for number in range(6):
        soundfile.write(folder / f"{number}.flac", 0.1 * noise.standard_normal(9000 * (number + 1)), 16000)
    short = folder / "2b.wav"
    soundfile.write(short, 0.1 * noise.standard_normal(16000 * 8), 16000)
    short.write_bytes(short.read_bytes()[: 16000 * 9])  # the first 4.5 s
    wrong = np.full(16000 * 8, 0.1, dtype=np.float32)
    wrong[16000 * 6] = np.nan
    soundfile.write(folder / "4b.wav", wrong, 16000, subtype="FLOAT")
    (folder / "none.wav").write_text("<html>" * 50)
    return folder


def run(encoder: Encoder | EmbeddingExtractor, folder: Path, out: Path, **how: Any) -> None:
    embed_folder(encoder, folder, out, **{"batch_size": 3, "workers": 0, **how})


def result(out: Path) -> tuple[bytes, dict[str, str]]:
    """Table and error table, byte by byte."""
    return out.read_bytes(), read_listed(out)


@pytest.fixture
def undisturbed(encoder: Encoder, folder: Path, tmp_path: Path) -> tuple[bytes, dict[str, str]]:
    run(encoder, folder, tmp_path / "undisturbed.parquet")
    return result(tmp_path / "undisturbed.parquet")


def test_the_undisturbed_table_has_what_it_should(undisturbed: tuple[bytes, dict[str, str]], tmp_path: Path) -> None:
    rows = pq.read_table(io.BytesIO(undisturbed[0])).to_pandas()
    counts = dict(rows.groupby("file").size())
    assert counts == {"0.flac": 2, "1.flac": 3, "2.flac": 4, "2b.wav": 9, "3.flac": 5, "4.flac": 6, "5.flac": 7}
    assert len(undisturbed[1]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["undisturbed.parquet", "undisturbed.parquet.errors.csv"]


class Held(Watcher):
    """Works until so many clips are done, says so and goes on when it is let."""

    def __init__(self, clips: int = 20) -> None:
        self.clips = clips
        self.here, self.go = FORK.Event(), FORK.Event()

    def progress(self, progress: Progress) -> None:
        if progress.clips >= self.clips and not self.here.is_set():
            self.here.set()
            assert self.go.wait(PATIENCE)


class Slow(Watcher):
    """Takes its time, so that there is time to be killed in."""

    def progress(self, progress: Progress) -> None:
        time.sleep(0.01)


@pytest.mark.parametrize(("workers", "seed"), [(0, 0), (0, 1), (1, 2)])
def test_killed_at_random_moments_it_goes_on_and_ends_the_same(
    encoder: Encoder, folder: Path, tmp_path: Path, undisturbed: tuple[bytes, dict[str, str]], workers: int, seed: int
) -> None:
    moments = np.random.default_rng(seed)
    out, journal = tmp_path / "out.parquet", tmp_path / "out.parquet.journal"
    kills, done = 0, 0
    while not out.exists():
        process = started(run, encoder, folder, out, workers=workers, watcher=Slow())
        assert kills < 30
        process.join(moments.uniform(0.02, 0.1) * 1.5**kills if kills < 12 else 60)  # early at first, later and later
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
        now = len(list(journal.glob("0*.parquet")))
        assert now >= done or out.exists(), "finished parts stay"
        done = now
    assert kills >= 2
    assert result(out) == undisturbed


def test_whoever_is_killed_leaves_no_readers_behind(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    if not Path("/proc/self/task").exists():
        pytest.skip("no /proc here")
    process = started(run, encoder, folder, out, workers=1, watcher=(held := Held()))
    assert held.here.wait(PATIENCE)
    readers = [
        Path("/proc", pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    assert readers
    deadline = time.monotonic() + PATIENCE
    while any(reader.exists() for reader in readers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def bombed(step: int, *arguments: Any, **how: Any) -> None:
    Bomb(step).arm()
    run(*arguments, **how)


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_before_any_change_on_the_disk_it_ends_the_same(
    encoder: Encoder, folder: Path, tmp_path: Path, undisturbed: tuple[bytes, dict[str, str]], stride: int
) -> None:
    ends, tidied = [], 0
    for step in range(0, 60, stride):
        out = tmp_path / f"{step}.parquet"
        process = started(bombed, step, encoder, folder, out)
        ended(process)
        ends.append(process.exitcode)
        if out.exists():
            assert result(out) == undisturbed, "what is in its place is whole"
        if process.exitcode == 0:
            break
        before = out.stat().st_mtime_ns if out.exists() else None
        journal = tmp_path / f"{step}.parquet.journal"
        left = {path.name for path in journal.iterdir()} if journal.exists() else {"nothing"}
        if left <= {"lock", "lock.json"} and before:
            with pytest.raises(OscineError, match="exists already"):
                run(encoder, folder, out)
            tidied += 1
        else:
            run(encoder, folder, out)
            tidied += out.stat().st_mtime_ns == before
        assert result(out) == undisturbed
        assert not journal.exists()
        assert not list(tmp_path.glob(f".{step}.*"))
    assert tidied > 8 // stride, "what is in its place is not made again"
    assert ends[-1] == 0
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert len(ends) > 25 // stride


class Stop(Watcher):
    """Interrupts when so many clips are done."""

    def __init__(self, clips: int) -> None:
        self.clips = clips

    def progress(self, progress: Progress) -> None:
        if progress.clips >= self.clips:
            raise KeyboardInterrupt


@pytest.fixture
def stopped(encoder: Encoder, folder: Path, tmp_path: Path) -> Path:
    """A table whose making was stopped half way, of a copy of the folder."""
    shutil.copytree(folder, tmp_path / "in")
    out = tmp_path / "stopped.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(encoder, tmp_path / "in", out, watcher=Stop(20))
    assert not out.exists()
    return out


def test_a_stop_costs_a_batch_at_first_then_a_quarter_and_never_more_than_a_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "BATCHES", 32)
    job = parts.Job(None, None, None, 16, [])  # type: ignore[arg-type]
    assert [job.clips_after(16 * batches) for batches in (0, 1, 7, 8, 40, 128, 9000)] == [
        16, 16, 16, 32, 160, 512, 512,
    ]  # fmt: skip


def test_what_is_done_is_not_done_again(encoder: Encoder, stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    said: list[Forecast] = []
    read: list[str] = []

    class Look(Watcher):
        def progress(self, progress: Progress) -> None:
            if not seen:
                read.clear()  # of the trial that was timed
            seen.append(progress.clips)

        def forecast(self, forecast: Forecast) -> None:
            said.append(forecast)

    open_recording = clips.open_recording
    monkeypatch.setattr(clips, "open_recording", lambda path: [read.append(path.name), open_recording(path)][1])
    run(encoder, stopped.parent / "in", stopped, watcher=Look())
    assert said[0].clips_done == seen[0] >= 6
    assert "0.flac" not in read
    assert "5.flac" in read


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"hop": 0.25}, "hop_seconds 0.5, not 0.25"),
        ({"dtype": "float16"}, "dtype 'float32', not 'float16'"),
        ({"batch_size": 4}, "batch_size 3, not 4"),
        ({"clock": "UTC"}, "clock None, not 'UTC'"),
    ],
)
def test_other_arguments_are_refused_and_named(
    encoder: Encoder, stopped: Path, how: dict[str, Any], said: str, undisturbed: tuple[bytes, dict[str, str]]
) -> None:
    with pytest.raises(OscineError) as caught:
        run(encoder, stopped.parent / "in", stopped, **how)
    assert f"stopped.parquet was begun with {said}" in str(caught.value)
    assert "call it as then to continue, or with overwrite" in str(caught.value)
    assert "\n" not in str(caught.value)
    run(encoder, stopped.parent / "in", stopped)
    assert result(stopped) == undisturbed, "the refused call has taken nothing away"


def test_other_columns_are_refused(encoder: Encoder, stopped: Path) -> None:
    with pytest.raises(OscineError, match=r"was begun with columns \{'embedding'.*, not \{'cls_1'"):
        run(EmbeddingExtractor(encoder, pools=["cls"]), stopped.parent / "in", stopped)


def test_other_weights_are_refused(encoder: Encoder, stopped: Path) -> None:
    with torch.no_grad():
        encoder.cls_token[0, 0, 0] += 1e-3
    with pytest.raises(OscineError, match=r"was begun with fingerprint '.*', not '"):
        run(encoder, stopped.parent / "in", stopped)


def test_another_content_of_the_folder_is_refused_and_named(encoder: Encoder, stopped: Path) -> None:
    folder = stopped.parent / "in"
    soundfile.write(folder / "new.wav", np.zeros(9000), 16000)
    (folder / "1.flac").unlink()
    os.utime(folder / "3.flac", (1, 1))
    with pytest.raises(OscineError, match="held other recordings") as caught:
        run(encoder, folder, stopped)
    assert "1 new, such as new.wav; 1 gone, such as 1.flac; 1 changed, such as 3.flac" in str(caught.value)
    run(encoder, folder, stopped, overwrite=True)
    assert "new.wav" in pq.read_table(stopped)["file"].to_pylist()


def test_a_recording_replaced_by_another_of_the_same_size_and_time_is_noticed(encoder: Encoder, stopped: Path) -> None:
    path = stopped.parent / "in" / "2b.wav"
    was, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    with pytest.raises(OscineError, match=r"held other recordings \(1 changed, such as 2b\.wav\); call it as then"):
        run(encoder, path.parent, stopped)


def test_a_journal_of_a_version_that_hashed_other_bytes_is_refused_with_what_would_do(
    encoder: Encoder, stopped: Path
) -> None:
    path = stopped.with_name(f"{stopped.name}.journal") / "plan.json"
    plan = json.loads(path.read_bytes())
    for stamp in plan["recordings"].values():
        stamp[2] += "0123"
    path.write_text(json.dumps(plan))
    with pytest.raises(
        OscineError, match="begun by a version that tells recordings apart by other bytes; call it with o"
    ):
        run(encoder, stopped.parent / "in", stopped)


def test_a_table_in_its_place_is_kept_until_the_new_one_is_complete(
    encoder: Encoder, folder: Path, tmp_path: Path, undisturbed: tuple[bytes, dict[str, str]]
) -> None:
    out = tmp_path / "undisturbed.parquet"
    with pytest.raises(OscineError, match="exists already"):
        run(encoder, folder, out)
    with pytest.raises(KeyboardInterrupt):
        run(encoder, folder, out, hop=0.25, overwrite=True, watcher=Stop(30))
    assert result(out) == undisturbed
    run(encoder, folder, out, hop=0.25)  # what was allowed to replace it goes on
    assert result(out) != undisturbed
    run(encoder, folder, out, overwrite=True)
    assert result(out) == undisturbed


def test_what_was_begun_in_another_precision_is_refused_with_what_would_do(
    encoder: Encoder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(EmbeddingExtractor(encoder, precision="auto"), folder, out, watcher=Stop(20))
    monkeypatch.setattr("oscine.models.encoders.base.precision.survives_bfloat16", lambda: True)
    with pytest.raises(OscineError, match=r"was begun with precision 'float32', not 'bfloat16'; call it as then"):
        run(EmbeddingExtractor(encoder, precision="bfloat16"), folder, out)
    run(EmbeddingExtractor(encoder, precision="float32"), folder, out)


def complaint(limit: int, answer: Any, *arguments: Any) -> None:
    """What a run says that may write no file longer than a number of bytes, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        run(*arguments)
    except OscineError as error:
        answer.send(str(error))
    else:
        answer.send("")


@pytest.mark.parametrize(("limit", "parts_done"), [(1000, 0), (8500, 9)])
def test_a_full_disk_is_one_line_and_with_more_room_it_goes_on(
    encoder: Encoder,
    folder: Path,
    tmp_path: Path,
    undisturbed: tuple[bytes, dict[str, str]],
    limit: int,
    parts_done: int,
) -> None:
    out = tmp_path / "out.parquet"
    reading, writing = FORK.Pipe(duplex=False)
    process = started(complaint, limit, writing, encoder, folder, out)
    assert reading.poll(PATIENCE)
    said = reading.recv()
    ended(process)
    assert "out.parquet could not be written (File too large); make room" in said
    assert "\n" not in said
    assert not out.exists()
    assert not errors_path(out).exists()
    assert len(list((tmp_path / "out.parquet.journal").glob("0*.parquet"))) >= parts_done
    run(encoder, folder, out)
    assert result(out) == undisturbed


def test_two_processes_do_not_write_the_same_table(
    encoder: Encoder, folder: Path, tmp_path: Path, undisturbed: tuple[bytes, dict[str, str]]
) -> None:
    out = tmp_path / "out.parquet"
    process = started(run, encoder, folder, out, watcher=(held := Held()))
    assert held.here.wait(PATIENCE)
    with pytest.raises(OscineError, match=r"process \d+ on .* is writing .*; wait for it"):
        run(encoder, folder, out)
    held.go.set()
    ended(process)
    assert result(out) == undisturbed


def test_a_plan_that_came_before_the_lock_was_had_is_kept(
    encoder: Encoder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, hold = tmp_path / "out.parquet", journal.lock_exclusive

    def late(*lock: Any) -> Lock:
        monkeypatch.setattr(journal, "lock_exclusive", hold)
        with pytest.raises(KeyboardInterrupt):
            run(encoder, folder, out, hop=0.25, watcher=Stop(30))
        return hold(*lock)

    monkeypatch.setattr(journal, "lock_exclusive", late)
    with pytest.raises(OscineError, match=r"was begun with hop_seconds 0\.25, not 0\.5"):
        run(encoder, folder, out)
    run(encoder, folder, out, hop=0.25)


def test_a_model_may_be_spelt_in_another_way(encoder: Encoder, stopped: Path) -> None:
    encoder.provenance = {"model": "local-dir:./encoder"}
    run(encoder, stopped.parent / "in", stopped)
    assert json.loads(pq.read_schema(stopped).metadata[b"oscine"])["model"] == "local-dir:./encoder"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_that_name_that_holds_anything_else_is_left_alone(
    encoder: Encoder, folder: Path, tmp_path: Path, overwrite: bool
) -> None:
    out = tmp_path / "out.parquet"
    mine = tmp_path / "out.parquet.journal/diary.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(OscineError, match=r"out\.parquet\.journal holds diary\.txt, which is no part of a journal"):
        run(encoder, folder, out, overwrite=overwrite)
    assert mine.read_text() == "mine"
    assert list(mine.parent.iterdir()) == [mine]


def test_a_reader_that_is_killed_is_said_in_one_line(
    encoder: Encoder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, open_recording = os.getpid(), clips.open_recording

    def suicide(path: Path) -> soundfile.SoundFile:
        if os.getpid() != caller:  # who reads the trial that is timed
            os.kill(os.getpid(), signal.SIGKILL)
        return open_recording(path)

    monkeypatch.setattr(clips, "open_recording", suicide)
    with pytest.raises(OscineError, match=r"a process that reads was killed, .*take fewer workers"):
        run(encoder, folder, tmp_path / "out.parquet", workers=1)
