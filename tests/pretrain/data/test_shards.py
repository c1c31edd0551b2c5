"""Shards give the clips that their recordings would give, and come out the same however often packing is stopped."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import resource
import shutil
import signal
import tarfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from oscine.cli import dispatch
from oscine.models.audio.load import AudioError
from oscine.models.errors import OscineError
from oscine.models.locks import lock_exclusive
from oscine.pretrain.data import packing
from oscine.pretrain.data.clips import ClipDataset, ClipNumbers
from oscine.pretrain.data.packing import ShardWriter, pack_shards, read_packed
from oscine.pretrain.data.shards import ShardSource, check_shards
from oscine.pretrain.data.sources import find_source
from oscine.pretrain.data.transcode import set_serial

RATE, SAMPLES = 8000, 4000
FORK = multiprocessing.get_context("fork")
LENGTHS = {"a.b.wav": 1.0, "c/d.flac": 0.3, "long.wav": 65.0, "é.wav": 2.0, "z.wav": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of 16 bits, one of which is longer than what is packed at a time."""
    folder = tmp_path_factory.mktemp("recordings")
    noise = np.random.default_rng(0)
    for name, seconds in LENGTHS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, noise.uniform(-1, 1, round(seconds * RATE)), RATE, subtype="PCM_16")
    return folder


@pytest.fixture(scope="module")
def packed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_shards(folder, tmp_path_factory.mktemp("packed") / "out", RATE, size=60_000, workers=0).out


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def dataset(path: Path) -> ClipDataset:
    return ClipDataset(find_source(path), RATE, SAMPLES, lambda generator: torch.zeros(1, 1), seed=1)


def test_every_clip_is_the_one_that_the_folder_would_give(folder: Path, packed: Path) -> None:
    files, shards = dataset(folder), dataset(packed)
    assert len(files.stretches) == len(shards.stretches)
    for number in range(0, 2 * len(files.stretches), 3):
        assert torch.equal(files[number].waveform, shards[number].waveform), number


def test_a_run_from_shards_ends_with_the_weights_of_one_from_the_folder(
    folder: Path, packed: Path, tmp_path: Path
) -> None:
    (tmp_path / "all.csv").write_text("\n".join(["path", *(str(folder / name) for name in sorted(LENGTHS))]))
    tiny = """--encoder.dim 24 --encoder.depth 1 --encoder.heads 2 --recipe.decoder_dim 16 --recipe.decoder_depth 1
    --recipe.decoder_heads 2 --recipe.steps 2 --recipe.warmup 1 --data.batch_size 2 --data.workers 1""".split()
    weights = {}
    for name, recordings in {"folder": folder, "shards": packed, "manifest": tmp_path / "all.csv"}.items():
        where = ["--name", name, "--runs", str(tmp_path), "--data.recordings", str(recordings)]
        assert dispatch(["pretrain", "bird_mae_tiny", *where, *tiny]) == 0
        weights[name] = (tmp_path / name / "encoder" / "model.safetensors").read_bytes()
    assert weights["shards"] == weights["folder"] == weights["manifest"]


def test_worker_processes_read_the_same_clips(packed: Path) -> None:
    numbers = ClipNumbers(first=1, last=4, batch_size=3)
    alone, helped = (DataLoader(dataset(packed), batch_sampler=numbers, num_workers=workers) for workers in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one.waveform, other.waveform)


def test_a_tar_holds_what_a_reader_of_webdatasets_layout_expects(folder: Path, packed: Path) -> None:
    heard = {}
    for path in sorted(packed.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            for sound, about in zip(members[::2], members[1::2], strict=True):
                key, suffix = sound.name.split(".", 1)  # as webdataset tells them apart: at the first dot
                assert (suffix, about.name) == ("flac", f"{key}.json")
                info = json.load(tar.extractfile(about))
                heard[info["name"]] = soundfile.read(io.BytesIO(tar.extractfile(sound).read()), dtype="int16")[0]
                assert info["seconds"] == len(heard[info["name"]]) / info["sample_rate"]
    assert list(heard) == sorted(LENGTHS)
    for name, samples in heard.items():
        assert np.array_equal(samples, soundfile.read(folder / name, dtype="int16")[0])


def test_the_index_says_where_everything_lies_and_what_it_should_be(packed: Path) -> None:
    index = json.loads((packed / "index.json").read_text())
    assert index["recordings"] == len(LENGTHS)
    assert index["seconds"] == pytest.approx(sum(LENGTHS.values()))
    for shard in index["shards"]:
        assert hashlib.sha256((packed / shard["name"]).read_bytes()).hexdigest() == shard["sha256"]
    for row in pq.read_table(packed / "index.parquet").to_pylist():
        part = (packed / f"{row['shard']:06d}.tar").read_bytes()[row["offset"] :][: row["length"]]
        assert soundfile.info(io.BytesIO(part)).frames == row["frames"] == LENGTHS[row["name"]] * RATE


def test_a_shard_is_as_large_as_asked_at_most_but_for_a_recording_that_is_larger(packed: Path) -> None:
    rows = pq.read_table(packed / "index.parquet").to_pandas().groupby("shard")["name"].agg(list)
    assert rows.tolist() == [["a.b.wav", "c/d.flac"], ["long.wav"], ["z.wav", "é.wav"]]
    sizes = [path.stat().st_size for path in sorted(packed.glob("*.tar"))]
    assert sizes[0] <= 60_000 < sizes[1]
    assert sizes[2] <= 60_000


def test_ogg_shards_read_from_the_middle_as_from_the_beginning(folder: Path, tmp_path: Path) -> None:
    shards = ShardSource(pack_shards(folder, tmp_path / "ogg", 16_000, "ogg", workers=0).out)
    (long,) = [span.recording for span in shards.spans() if span.end > 60]
    whole = shards.load(long, 16_000, 0.0, 65.0)
    assert len(whole) == 65 * 16_000
    for start in (0.0, 12.3, 59.9, 64.0):
        part = shards.load(long, 16_000, start, 0.7)
        assert torch.equal(part, whole[round(start * 16_000) :][:11_200])


def test_an_ogg_stream_with_another_serial_number_is_still_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE), RATE)
    before, samples = path.read_bytes(), soundfile.read(path)[0]
    serial = int.from_bytes(before[14:18], "little")
    set_serial(path, serial ^ 1)
    assert path.read_bytes() != before
    assert np.array_equal(soundfile.read(path)[0], samples), "a decoder passes over pages whose checksum is wrong"
    set_serial(path, serial)
    assert path.read_bytes() == before, "our checksums are those that the encoder had written"


@pytest.mark.parametrize("format", ["flac", "ogg"])
def test_the_number_of_processes_changes_nothing(format: str, folder: Path, tmp_path: Path) -> None:
    alone, helped = (
        pack_shards(folder, tmp_path / str(workers), 16_000, format, 60_000, workers).out for workers in (0, 2)
    )
    assert content(alone) == content(helped)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    noise = np.random.default_rng(1)
    for number in range(30):
        soundfile.write(folder / f"{number:02d}.wav", noise.uniform(-0.5, 0.5, 48_000 * 8), 48_000)
    return folder


def test_packing_that_is_killed_goes_on_and_ends_with_the_same_bytes(many: Path, tmp_path: Path) -> None:
    whole = pack_shards(many, tmp_path / "whole", 16_000, "ogg", 60_000, 0)
    out, shards = tmp_path / "out", set[Path]()
    for _ in range(
        4
    ):  # killed as soon as it has put another shard in its place; the process that encodes for it is not
        process = FORK.Process(target=pack_shards, args=(many, out, 16_000, "ogg", 60_000, 1))
        process.start()
        known = len(shards)
        while len(shards) <= known and process.is_alive():
            time.sleep(0.002)
            shards = set(out.glob("*.tar"))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "killed while it packed"
    assert not (out / "index.json").exists()
    with pytest.raises(OscineError, match="not finished; call oscine shards as then"):
        find_source(out)
    times = {path: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    again = pack_shards(many, out, 16_000, "ogg", 60_000, 1)
    assert again == whole._replace(out=out)
    assert content(out) == content(whole.out)
    assert all(path.stat().st_mtime_ns == then for path, then in times.items()), "finished shards stay"


def pack_on_a_small_disk(folder: Path, out: Path, workers: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # bytes of a file
    try:
        pack_shards(folder, out, 48_000, size=1, workers=workers)
    except OscineError as error:
        print(error, flush=True)


def test_a_full_disk_is_said_in_one_line_and_what_is_whole_is_kept(
    many: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", np.zeros(48_000), 48_000)
    shutil.copy(many / "00.wav", folder / "3.wav")
    for workers in (0, 1):
        process = FORK.Process(target=pack_on_a_small_disk, args=(folder, out, workers))
        process.start()
        process.join()
        said = capfd.readouterr()
        assert said.out == f"{out} could not be written (File too large); make room; whole shards are kept\n"
        assert said.err == ""
        assert sorted(path.name for path in out.glob("*.tar")) == ["000000.tar", "000001.tar"]
    assert pack_shards(folder, out, 48_000, size=1, workers=0).shards == 4
    assert content(out) == content(pack_shards(folder, tmp_path / "whole", 48_000, size=1, workers=0).out)


def test_bad_recordings_are_listed_and_the_others_packed(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    (bad / "no.wav").write_bytes(b"no audio")
    soundfile.write(bad / "nan.wav", np.full(100, np.nan), RATE, subtype="FLOAT")
    (bad / "short.wav").write_bytes((folder / "z.wav").read_bytes()[:4044])
    made = pack_shards(bad, tmp_path / "out", RATE, workers=1)
    assert {name: reason.split(";")[0] for name, reason in made.listed.items()} == {
        "no.wav": "is no audio that can be read here",
        "nan.wav": "has samples that are infinite or not a number",
        "short.wav": "truncated: holds 0.250 s of the 0.500 s that its header promises",
    }
    assert made.recordings == len(LENGTHS) + 1
    assert (made.out / "errors.csv").read_text().splitlines()[0] == "file,reason"


def test_a_folder_of_bad_recordings_alone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").touch()
    with pytest.raises(OscineError, match=r"none of 1 recording can be packed, such as a\.wav: is empty"):
        pack_shards(tmp_path / "in", tmp_path / "out", RATE, workers=0)


def test_a_finished_call_is_not_done_again(folder: Path, packed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in packed.iterdir()}
    assert pack_shards(folder, packed, RATE, size=60_000, workers=0).shards == 3
    assert {path: path.stat().st_mtime_ns for path in packed.iterdir()} == before


def test_what_a_killed_call_has_left_goes_with_the_next_one_unless_another_is_at_work(
    folder: Path, packed: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(packed, tmp_path / "out")
    work = out / ".packing" / "work"
    work.mkdir(parents=True)
    with lock_exclusive(out / ".packing" / "lock", "packing", "wait"):
        pack_shards(folder, out, RATE, size=60_000, workers=0)
        assert work.exists()
    pack_shards(folder, out, RATE, size=60_000, workers=0)
    assert content(out) == content(packed)


def test_what_is_not_this_calls_is_refused(folder: Path, packed: Path, tmp_path: Path) -> None:
    with pytest.raises(OscineError, match="shards of another call: sample_rate 8000, not 9000; size 60000"):
        pack_shards(folder, packed, 9000, workers=0)
    shutil.copytree(folder, tmp_path / "in")
    (tmp_path / "in" / "z.wav").unlink()
    with pytest.raises(OscineError, match="the recordings are others, or changed"):
        pack_shards(tmp_path / "in", packed, RATE, size=60_000, workers=0)
    with pytest.raises(OscineError, match="holds other files, such as"):
        pack_shards(folder, tmp_path, RATE, workers=0)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "index.json").write_text("[]")
    with pytest.raises(OscineError, match=r"holds other files, such as index\.json"):
        pack_shards(folder, tmp_path / "data", RATE, workers=0)
    with pytest.raises(OscineError, match="is a file, expected a folder"):
        pack_shards(folder, folder / "z.wav", RATE, workers=0)


def hold(lock: Path, ready: Event) -> None:
    with lock_exclusive(lock, "packing", "wait"):
        ready.set()
        time.sleep(60)


def test_two_calls_do_not_pack_the_same_folder_at_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / ".packing").mkdir()
    ready = FORK.Event()
    holder = FORK.Process(target=hold, args=(tmp_path / ".packing" / "lock", ready))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(OscineError, match=r"process \d+ on .* \(since .*\) is packing"):
        pack_shards(folder, tmp_path, RATE, workers=0)
    holder.kill()
    holder.join()
    assert pack_shards(folder, tmp_path, RATE, workers=0).recordings == len(LENGTHS)


def test_who_had_to_wait_for_the_lock_finds_what_was_packed_meanwhile(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, take = tmp_path / "out", packing.lock_exclusive

    def late(*lock: Any) -> Any:
        monkeypatch.setattr(packing, "lock_exclusive", take)
        pack_shards(folder, out, RATE, size=60_000, workers=0)
        first.update({path.name: path.stat().st_mtime_ns for path in out.iterdir()})
        lock[0].parent.mkdir()
        return take(*lock)

    first: dict[str, int] = {}
    monkeypatch.setattr(packing, "lock_exclusive", late)
    pack_shards(folder, out, RATE, size=60_000, workers=0)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == first, (
        "nothing is packed twice, or left over"
    )


def test_a_shard_that_is_not_finished_is_closed_and_takes_no_room(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers: list[ShardWriter] = []

    def full(writer: ShardWriter, content: bytes) -> None:
        writers.append(writer)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(ShardWriter, "_write", full)
        with pytest.raises(OscineError, match="No space left on device"):
            pack_shards(folder, tmp_path / "out", RATE, workers=0)
    assert writers[0].file.closed
    assert not writers[0].part.exists()
    assert pack_shards(folder, tmp_path / "out", RATE, workers=0).recordings == len(LENGTHS)


def test_a_disk_that_vanishes_while_packing_is_no_list_of_bad_recordings(folder: Path, tmp_path: Path) -> None:
    source, away = Path(shutil.copytree(folder, tmp_path / "in")), tmp_path / "away"

    def vanish(done: int, total: int) -> None:
        if source.exists():
            source.rename(away)

    with pytest.raises(OscineError, match="others of its folder or list can be opened; check the disk"):
        pack_shards(source, tmp_path / "out", RATE, size=60_000, workers=0, progress=vanish)
    away.rename(source)
    assert not pack_shards(source, tmp_path / "out", RATE, size=60_000, workers=0).listed


def test_a_shard_that_was_not_copied_whole_is_an_error_at_once(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "out")
    os.truncate(tmp_path / "out" / "000001.tar", 1000)
    (tmp_path / "out" / "000002.tar").unlink()
    with pytest.raises(OscineError, match=r"2 of 3 shards are not there or not as long .* 000001\.tar, 000002\.tar"):
        find_source(tmp_path / "out")


def test_a_damaged_recording_is_skipped_by_its_name(
    packed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    shutil.copytree(packed, out)
    row = pq.read_table(out / "index.parquet").to_pylist()[0]
    with (out / "000000.tar").open("r+b") as file:
        file.seek(row["offset"])
        file.write(bytes(row["length"]))
    with pytest.raises(AudioError, match=r"000000\.tar/a\.b\.wav: is damaged"):
        ShardSource(out).load(0, RATE, 0.0, 0.5)
    clips = dataset(out)
    assert all(clips[number].waveform.abs().max() > 0 for number in range(len(clips.stretches)))
    assert "skipped for another recording (2 of " in caplog.text
    (out / "000001.tar").unlink()
    with pytest.raises(AudioError, match=r"000001\.tar: could not be opened \(No such file"):
        clips.source.load(2, RATE, 0.0, 0.5)


def test_a_flipped_byte_is_found_and_its_shard_named(packed: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "out", []
    shutil.copytree(packed, out)
    assert check_shards(out, lambda *done: told.append(done)) == 3
    assert told == [(1, 3), (2, 3), (3, 3)]
    content = bytearray((out / "000001.tar").read_bytes())
    content[len(content) // 2] ^= 1
    (out / "000001.tar").write_bytes(content)
    with pytest.raises(OscineError, match=r"out: 1 of 3 shards: 000001\.tar is damaged; copy them again$"):
        check_shards(out)
    (out / "000002.tar").unlink()
    with pytest.raises(OscineError, match=r"2 of 3 .*, 000002\.tar could not be read \(No such file or directory\)"):
        check_shards(out)
    (out / "index.json").unlink()
    with pytest.raises(OscineError, match=r"no shards in .*, which would have an index\.json"):
        check_shards(out)


def test_a_rate_other_than_the_encoders_is_said(packed: Path, caplog: pytest.LogCaptureFixture) -> None:
    ClipDataset(find_source(packed), 16_000, SAMPLES, lambda generator: torch.zeros(1, 1))
    assert "recordings packed at 8000 Hz are read at 16000 Hz" in caplog.text


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_text("a,b,c\n"), lambda path: path.write_bytes(b"\xff")]
)
def test_a_list_of_packed_shards_is_damaged_together_with_them(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(8000), 8000)
    (folder / "torn.wav").write_bytes(b"RIFF")
    made = pack_shards(folder, tmp_path / "packed", 8000, workers=0)
    damage(made.out / "errors.csv")
    with pytest.raises(OscineError, match=r"errors.csv.*; copy the folder again, or pack it anew$"):
        read_packed(made.out)
