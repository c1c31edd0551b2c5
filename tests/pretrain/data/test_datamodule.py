"""Clips of a run: each depends on its number and the seed alone, whoever reads it and in whatever order."""

from __future__ import annotations

import logging
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from oscine.models.audio.clip_random import derive_seed
from oscine.models.errors import OscineError
from oscine.pretrain.data.clips import ClipDataset, ClipNumbers, collate
from oscine.pretrain.data.datamodule import PretrainingData, roll_and_gain
from oscine.pretrain.data.sources import FileSource, find_source
from oscine.pretrain.data.spans import split_spans
from oscine.pretrain.masking import random_keep
from oscine.pretrain.recipe import Batch

RATE, SAMPLES = 8000, 4000


def write(folder: Path, name: str, seconds: float, value: float | None = None) -> Path:
    noise = np.random.default_rng(len(name)).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(folder / name, noise if value is None else np.full(round(seconds * RATE), value), RATE)
    return folder / name


def dataset(recordings: list[Path], **settings: float) -> ClipDataset:
    return ClipDataset(
        FileSource(recordings), RATE, SAMPLES, lambda generator: random_keep(2, (4, 8), 0.5, generator), **settings
    )


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    return [write(tmp_path, f"{'x' * number}.wav", seconds) for number, seconds in enumerate((0.5, 0.7, 3.0, 0.2), 1)]


def test_a_clip_depends_on_its_number_and_the_seed_alone(recordings: list[Path]) -> None:
    clips, again = dataset(recordings, seed=3), dataset(recordings, seed=3)
    later = [again[number] for number in (7, 2)]
    assert torch.equal(clips[2].waveform, later[1].waveform)
    assert torch.equal(clips[2].keep, later[1].keep)
    assert not torch.equal(clips[2].waveform, dataset(recordings, seed=4)[2].waveform)
    assert not torch.equal(clips[2].keep, clips[7].keep)


def test_recordings_may_be_named_by_texts(recordings: list[Path]) -> None:
    assert list(find_source([str(path) for path in recordings]).spans()) == list(FileSource(recordings).spans())
    assert find_source(str(recordings[0].parent)).name(0) == str(recordings[0])


def test_worker_processes_give_the_same_batches(recordings: list[Path]) -> None:
    numbers = ClipNumbers(first=1, last=4, batch_size=3)
    alone, helped = (DataLoader(dataset(recordings), batch_sampler=numbers, num_workers=workers) for workers in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def test_an_epoch_takes_every_stretch_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    levels = [0.1, 0.2, 0.3, 0.4, 0.5]
    clips = dataset([write(tmp_path, f"{level}.wav", 0.5, level) for level in levels])
    epochs = [[round(clips[5 * epoch + place].waveform.max().item(), 1) for place in range(5)] for epoch in range(3)]
    assert all(sorted(epoch) == levels for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


def test_a_long_recording_counts_as_often_as_a_clip_fits_in(recordings: list[Path]) -> None:
    parts = split_spans(FileSource([recordings[2]]).spans(), seconds=0.5)
    assert len(parts) == 6
    assert parts[-1]["start"] + parts[-1]["seconds"] == pytest.approx(3.0)


def test_short_recordings_are_filled_up_with_silence(tmp_path: Path) -> None:
    clip = dataset([write(tmp_path, "short.wav", 0.2, 0.25)])[0]
    assert len(clip.waveform) == SAMPLES
    assert int(clip.lengths) == 1600
    assert clip.waveform[:1600].abs().min() > 0.2
    assert not clip.waveform[1600:].any()


def batch_of(*heard: int, samples: int = 12) -> Batch:
    """Clips that count their samples from one, and are silent behind those that are heard."""
    waveform = torch.stack([(torch.arange(samples) + 1.0) * (torch.arange(samples) < length) for length in heard])
    seed = torch.tensor([derive_seed(7, clip) for clip in range(len(heard))])
    return Batch(waveform, torch.tensor(heard), torch.zeros(len(heard), 1, 1), seed)


def test_clips_are_rolled_each_by_its_own_number_before_or_after_they_are_filled_up() -> None:
    batch = batch_of(5, 12, 1)
    before, after = roll_and_gain(batch, True, gain=False).waveform, roll_and_gain(batch, False, gain=False).waveform
    shifts = {int(before[1].argmin()), int(after[0].argmax())}
    assert len(shifts) == 2
    assert not before[0, 5:].any()
    assert before[0, :5].sort().values.tolist() == [1, 2, 3, 4, 5]
    assert torch.equal(before[1], after[1]), "a whole clip has no filling"
    for rolled, whole in zip(after, batch.waveform):
        assert any(torch.equal(rolled, whole.roll(shift)) for shift in range(12))


def test_what_is_done_to_a_clip_does_not_depend_on_its_batch() -> None:
    batch = batch_of(5, 12, 7)
    alone = Batch(*(tensor[2:] for tensor in batch))
    for before_filling in (True, False):
        together, single = (
            roll_and_gain(batch, before_filling, gain=True),
            roll_and_gain(alone, before_filling, gain=True),
        )
        assert torch.equal(together.waveform[2:], single.waveform)


def test_gain_stays_between_a_half_and_one_and_a_half() -> None:
    louder = roll_and_gain(batch_of(*[12] * 20), False, gain=True).waveform.amax(1) / 12
    assert len(louder.unique()) == 20
    assert all(0.5 <= gain <= 1.5 for gain in louder.tolist())


def test_ranks_share_the_clips_of_a_step_without_overlap() -> None:
    alone = list(ClipNumbers(2, 5, batch_size=4))
    pair = zip(*(ClipNumbers(2, 5, batch_size=2, rank=rank, ranks=2) for rank in range(2)), strict=True)
    assert [first + second for first, second in pair] == alone


def test_a_resumed_run_continues_with_the_next_batch() -> None:
    assert list(ClipNumbers(0, 6, 3))[4:] == list(ClipNumbers(4, 6, 3))


def test_a_run_may_be_resumed_on_other_ranks_with_the_same_clips_a_step() -> None:
    alone = list(ClipNumbers(0, 6, 4))
    before = list(zip(*(ClipNumbers(0, 2, batch_size=2, rank=rank, ranks=2) for rank in range(2)), strict=True))
    after = list(zip(*(ClipNumbers(2, 6, batch_size=1, rank=rank, ranks=4) for rank in range(4)), strict=True))
    assert [list(chain(*parts)) for parts in before + after] == alone


def test_a_recording_that_breaks_is_skipped_for_the_next_one(
    recordings: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    clips = dataset(recordings)
    recordings[2].write_bytes(b"no longer audio")  # six of nine stretches
    with caplog.at_level(logging.WARNING):
        heard = [clips[number] for number in range(9)]
    assert all(clip.waveform.abs().max() > 0 for clip in heard)
    assert str(recordings[2]) in caplog.text


def test_the_next_recording_of_the_source_stands_in_for_one_that_breaks(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{number}.wav", seconds) for number, seconds in enumerate((0.5, 1.5, 0.6))]
    whole = dataset(paths)
    (number,) = (number for number in range(5) if whole.recording_of(number) == str(paths[0]))
    paths[0].write_bytes(b"no longer audio")
    assert whole.of_next_recording(whole.stretch(number)) == 1
    assert whole.stretches["recording"].tolist() == [0, 1, 1, 1, 2]
    paths[1].write_bytes(b"nor this")
    level = dataset([paths[2]])[0].waveform.abs().max()
    assert whole[number].waveform.abs().max() == pytest.approx(level.item(), abs=0.02), "of all stretches but the last"
    assert whole.of_next_recording(4) == 0


def test_a_run_stops_when_nothing_can_be_read_any_more(recordings: list[Path]) -> None:
    clips = dataset(recordings)
    for path in recordings:
        path.unlink()
    with pytest.raises(OscineError, match=r"20 recordings in a row .* is the disk still there"):
        clips[0]


def test_a_run_stops_when_more_than_the_allowed_share_is_bad(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [write(tmp_path, f"{number}.wav", 0.5) for number in range(10)]
    strict, lenient = dataset(paths, bad_share=0.2), dataset(paths, bad_share=0.4)
    for path in paths[:3]:  # three of ten
        path.write_bytes(b"no longer audio")
    assert all(lenient[number].waveform.abs().max() > 0 for number in range(200))
    assert "skipped for another recording (60 of " in caplog.text
    complaint = r"^20 of (6|7)\d clips cannot be read, more than data\.bad_share=0\.2 allows"
    with pytest.raises(OscineError, match=complaint) as error:
        list(map(strict.__getitem__, range(200)))
    assert any(str(path) in str(error.value) for path in paths[:3])
    assert "\n" not in str(error.value)


def test_bad_clips_are_counted_over_all_workers(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{number}.wav", 0.5) for number in range(4)]
    clips = dataset(paths)
    paths[0].unlink()
    loader = DataLoader(clips, batch_sampler=ClipNumbers(0, 50, 4), num_workers=2, collate_fn=collate)
    heard = [not isinstance(batch, OscineError) for batch in loader]
    # Every batch holds one bad clip. Workers run ahead of one another: which batches are refused may differ, how many not.
    assert sum(heard) == 19, "each worker alone would have met its twentieth only after 38 batches"


def test_a_folder_that_is_bad_by_its_headers_is_said_at_once(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{number}.wav", 0.5) for number in range(30)]
    for path in paths[:19]:
        path.write_bytes(b"")
    assert len(dataset(paths).stretches) == 11, "fewer than 20 bad ones are no reason"
    paths[19].write_bytes(b"")
    with pytest.raises(OscineError, match=r"^20 of 30 recordings cannot be read, .*the last is .*19\.wav: is empty"):
        dataset(paths)
    assert len(dataset(paths, bad_share=0.7).stretches) == 10


def test_a_share_is_a_share(recordings: list[Path]) -> None:
    with pytest.raises(OscineError, match="bad_share is 5, expected a share from 0"):
        PretrainingData(recordings, bad_share=5)


def test_an_error_in_a_worker_arrives_as_itself(recordings: list[Path]) -> None:
    data = PretrainingData(recordings)
    clips = dataset(recordings)
    for path in recordings:
        path.unlink()
    loader = DataLoader(clips, batch_sampler=ClipNumbers(0, 1, 2), num_workers=1, collate_fn=collate)
    with pytest.raises(OscineError, match=r"^20 recordings in a row .* is the disk still there\?$"):
        data.on_before_batch_transfer(next(iter(loader)), 0)


def test_what_is_mixed_is_not_drawn_from_the_numbers_that_cut_the_clip(recordings: list[Path]) -> None:
    drawn_from = []

    def draw_keep(generator: torch.Generator) -> torch.Tensor:
        drawn_from.append(generator.initial_seed())
        return torch.zeros(1, 1)

    clips = ClipDataset(FileSource(recordings), RATE, SAMPLES, draw_keep)
    mixing = [int(clips[number].seed) for number in range(5)]
    assert len(set(mixing + drawn_from)) == 10


def test_recordings_that_never_could_be_read_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(OscineError, match="none of 1 recording can be read"):
        dataset([tmp_path / "a.wav"])


def test_the_seeds_of_a_batch_stay_where_they_are_read(recordings: list[Path]) -> None:
    batch = Batch(torch.zeros(1, 2), torch.tensor([2]), torch.zeros(1, 1, 1), torch.tensor([3]))
    sent = PretrainingData(recordings).transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert sent.waveform.is_meta
    assert sent.keep.is_meta
    assert sent.seed.device.type == sent.lengths.device.type == "cpu"


def test_seeds_differ_in_every_number() -> None:
    assert len({derive_seed(a, b) for a in range(20) for b in range(20)}) == 400
