"""Clips of BirdSet are cut around its events, those of AudioSet from its training clips; a run takes either's folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from oscine.cli import dispatch
from oscine.models.audio import gzip_index
from oscine.models.errors import OscineError
from oscine.pretrain.data.clips import ClipDataset, readable
from oscine.pretrain.data.sources import BirdSetSource, FileSource, find_source
from oscine.pretrain.data.spans import split_spans
from tests.birdset_layout import RATE, ogg, train_rows, write_split

CALLS = {f"XC{number}.ogg": (20.0 - 2 * number, 20.5 - 2 * number) for number in range(8)}
OGGS = {name: ogg(25, number, call) for number, (name, call) in enumerate(CALLS.items())}
OTHERS = [[0.5, 1.0], [1.0, 1.5], [1.5, 2.0]]  # of another cluster: nothing is to be heard there


@pytest.fixture(scope="module")
def xcl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight recordings with a call each, one without an event, one that cannot be read, one that is nowhere; 98 tars."""
    rows = {name: ("amerob", [[0.5, 1.0], list(call)], [-1, 3]) for name, call in CALLS.items()}
    more = {name: ("foxspa", [], []) for name in ("quiet.ogg", "broken.ogg", "gone.ogg")}
    recordings = OGGS | {"quiet.ogg": ogg(8, 9), "broken.ogg": b"no audio"}
    repository = tmp_path_factory.mktemp("hub")
    return write_split(repository, "XCL", "XCL_metadata.parquet", train_rows(rows | more), recordings)


def dataset(folder: Path, rate: int = RATE, seconds: float = 5.0, seed: int = 1) -> ClipDataset:
    source = find_source(folder, seed=seed)
    return ClipDataset(source, rate, round(seconds * rate), lambda _: torch.zeros(1, 1), seed, bad_share=0.2)


def test_every_clip_of_an_event_holds_the_event(xcl: Path) -> None:
    clips = dataset(xcl)
    assert len(clips.stretches) == len(CALLS) + 1
    for number in range(3 * len(clips.stretches)):
        quiet = "quiet" in clips.recording_of(number)
        assert (clips[number].waveform.abs() > 0.1).sum() > (-1 if quiet else 0.3 * RATE)
        assert not quiet or clips[number].waveform.abs().max() < 0.1


def test_an_event_is_heard_with_as_much_around_it_as_makes_a_second_more_than_a_clip(xcl: Path) -> None:
    spans = readable(find_source(xcl), 0.5)
    stretches = split_spans(spans, 5.0)
    assert stretches["start"].tolist() == [17.25, 15.25, 13.25, 11.25, 9.25, 7.25, 5.25, 3.25, 0.0]
    assert stretches["seconds"].tolist() == [6.0] * 9
    assert split_spans(spans, 10.0)["seconds"].tolist() == [11.0] * 8 + [8.0]


def test_the_same_seed_and_number_give_the_same_clip_also_with_another_index(
    xcl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dataset(xcl)
    for path in (xcl / ".index").iterdir():
        path.unlink()
    monkeypatch.setattr(gzip_index, "SPACING", 2**16)
    again, other = dataset(xcl), dataset(xcl, seed=2)
    numbers = [11, 3, 40]
    assert all(torch.equal(first[number].waveform, again[number].waveform) for number in numbers)
    assert not any(torch.equal(first[number].waveform, other[number].waveform) for number in numbers)


def test_recordings_that_are_nowhere_or_unreadable_count_as_bad(xcl: Path) -> None:
    found = [str(error) for error in find_source(xcl).spans() if isinstance(error, OscineError)]
    assert len(found) == 2
    assert "gone.ogg: lies in none of the tar files" in found[0]
    assert "broken.ogg: is no audio that can be read here" in found[1]


def test_frequent_species_keep_so_many_events_of_a_recording_as_is_said(tmp_path: Path) -> None:
    often = {f"XC{number}.ogg": ("amerob", OTHERS, [1, 1, 1]) for number in range(300)}
    rows = train_rows(often | {"rare.ogg": ("foxspa", OTHERS, [1, 1, 1])})
    recordings = dict.fromkeys(rows["filepath"].str.split("/").str[-1], OGGS["XC0.ogg"])
    folder = write_split(tmp_path, "HSN_train", "HSN_metadata_train.parquet", rows, recordings, suffix=".tar")
    spans = {most: readable(find_source(folder, most), 0.0) for most in (None, 2, 1)}
    assert {most: len(found) for most, found in spans.items()} == {None: 903, 2: 603, 1: 603}  # 303 were below 500
    assert (
        spans[2] == readable(BirdSetSource(folder, 2, seed=0), 0.0) != readable(BirdSetSource(folder, 2, seed=1), 0.0)
    )


def test_audiosets_folder_gives_its_training_clips(tmp_path: Path) -> None:
    for split, name in (("balanced_train_segments", "Yaaaaaaaaaaa.wav"), ("eval_segments", "Yeeeeeeeeeee.wav")):
        (tmp_path / split).mkdir()
        soundfile.write(tmp_path / split / name, np.zeros(1600), 16_000)
    source = find_source(tmp_path)
    assert isinstance(source, FileSource)
    assert [path.name for path in source.paths] == ["Yaaaaaaaaaaa.wav"]


TINY = """
--encoder.dim 24 --encoder.depth 1 --encoder.heads 2 --data.batch_size 2 --data.workers 0 --recipe.steps 2
--recipe.decoder_dim 16 --recipe.decoder_depth 1 --recipe.decoder_heads 2 --recipe.warmup 1 --data.bad_share 0.5
""".split()


def test_a_run_takes_birdsets_folder(xcl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert dispatch(["pretrain", "bird_mae_tiny", *TINY, "--data.recordings", str(xcl)]) == 0
    assert (tmp_path / "runs/bird_mae_tiny/encoder/model.safetensors").exists()


def test_a_missing_tar_is_one_line_before_a_run_begins(
    xcl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = Path(shutil.copytree(xcl.parents[2], "hub", symlinks=True)) / xcl.relative_to(xcl.parents[2])
    (copy / "XCL_shard_0042.tar.gz").unlink()
    assert dispatch(["pretrain", "bird_mae_tiny", *TINY, "--data.recordings", str(copy)]) != 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "1 of 98 tar files of XCL's train are missing, such as XCL_shard_0042.tar.gz" in said
    assert not (tmp_path / "runs").exists()
