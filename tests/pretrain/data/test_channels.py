"""Which channel of a recording is pretrained on: the mix, one of them, or each as a recording of its own."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from oscine.models.errors import OscineError
from oscine.pretrain.data.clips import ClipDataset
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.data.packing import pack_shards
from oscine.pretrain.data.shards import ShardSource
from oscine.pretrain.data.sources import find_source
from oscine.pretrain.run.settings import check_same
from oscine.pretrain.settings import DataSettings

RATE = 8000
MIX, LEFT, RIGHT, MONO = 0.25, 0.125, 0.375, 0.5  # which 16 bits hold exactly


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One recording of two channels, and one of one."""
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/a.wav", np.tile([LEFT, RIGHT], (RATE, 1)), RATE)
    soundfile.write(tmp_path / "in/b.wav", np.full(RATE, MONO), RATE)
    return tmp_path / "in"


def levels(recordings: Path, channel: str | int) -> list[float]:
    """What is heard in an epoch of clips of a second."""
    source = find_source(recordings, channel=channel)
    clips = ClipDataset(source, RATE, RATE, lambda generator: torch.zeros(1, 1))
    return sorted(clips[number].waveform[100].item() for number in range(len(clips.stretches)))


@pytest.mark.parametrize(
    ("channel", "expected"),
    [("mix", [MIX, MONO]), ("left", [LEFT, MONO]), (1, [LEFT, MONO]), ("each", [LEFT, RIGHT, MONO])],
)
def test_the_channel_that_is_asked_for_is_read(folder: Path, channel: str | int, expected: list[float]) -> None:
    assert levels(folder, channel) == expected
    manifest = folder / "list.csv"
    manifest.write_text("path\nb.wav\na.wav\n")
    assert levels(manifest, channel) == expected


@pytest.mark.parametrize("channel", ["right", "2"])
def test_a_recording_without_the_channel_is_left_out_and_named(
    folder: Path, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert levels(folder, channel) == [RIGHT]
    assert "b.wav: has 1 channel, no channel 2; choose another one, or mix" in caplog.text


def test_each_channel_has_a_name_of_its_own_and_a_stretch_of_it_is_found_again(folder: Path) -> None:
    source = find_source(folder, channel="each")
    found = {span.recording: source.name(span.recording) for span in source.spans()}  # type: ignore[union-attr]
    assert [name.removeprefix(f"{folder}/") for name in found.values()] == [
        "a.wav, channel 1",
        "a.wav, channel 2",
        "b.wav, channel 1",
    ]
    fresh = find_source(folder, channel="each")  # as in a process that has read no headers
    heard = [fresh.load(recording, RATE, 0.0, 0.5).mean().item() for recording in found]
    assert heard == pytest.approx([LEFT, RIGHT, MONO], abs=1e-4)


def test_a_channel_that_is_none_is_refused(folder: Path) -> None:
    for refuse in (lambda: DataSettings(folder, channel="centre"), lambda: PretrainingData(folder, channel=0)):
        with pytest.raises(OscineError, match=r"no channel .*; choose mix, left, right, each, or a number from 1"):
            refuse()


def test_of_tar_files_one_channel_is_read_and_each_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    for ending in ("tar", "tar.gz"):
        with tarfile.open(tmp_path / f"tars/0.{ending}", "w:gz" if ending == "tar.gz" else "w") as tar:
            tar.add(folder / "a.wav", f"{ending}.wav")
    assert levels(tmp_path / "tars", "right") == [RIGHT, RIGHT]
    assert levels(tmp_path / "tars", "mix") == [MIX, MIX]
    (tmp_path / "tars").rename(tmp_path / "unread")
    with pytest.raises(OscineError, match=r"tar files, .* channel each is for files of their own; choose mix, left"):
        find_source(tmp_path / "unread", channel="each")


def test_shards_hold_the_channel_that_was_packed_and_no_other(folder: Path, tmp_path: Path) -> None:
    each = pack_shards(folder, tmp_path / "each", RATE, workers=0, channel="each")
    assert (each.recordings, each.listed) == (3, {})
    assert levels(each.out, "mix") == levels(each.out, "each") == [LEFT, RIGHT, MONO]
    assert ShardSource(each.out).names.to_pylist() == ["a.wav, channel 1", "a.wav, channel 2", "b.wav, channel 1"]
    right = pack_shards(folder, tmp_path / "right", RATE, workers=0, channel="right")
    assert list(right.listed) == ["b.wav"]
    assert levels(right.out, 2) == [RIGHT]
    with pytest.raises(OscineError, match=r"shards of channel 2, .* not of 1; .* oscine shards --channel 1"):
        find_source(right.out, channel="left")


def test_packing_goes_on_with_the_channel_that_it_began_with(folder: Path, tmp_path: Path) -> None:
    out = pack_shards(folder, tmp_path / "out", RATE, workers=0).out
    with pytest.raises(OscineError, match=r"shards of another call: channel 'mix', not 1"):
        pack_shards(folder, out, RATE, workers=0, channel="left")
    index = json.loads((out / "index.json").read_text())
    del index["channel"]  # as 0.1 wrote it
    (out / "index.json").write_text(json.dumps(index))
    assert pack_shards(folder, out, RATE, workers=0).recordings == 2
    assert levels(out, "mix") == [MIX, MONO]


def test_a_run_of_before_there_was_a_choice_goes_on_with_the_mix() -> None:
    check_same("run", {"data": {"workers": 2}}, {"data": {"workers": 2, "channel": "mix"}}, [])
    with pytest.raises(OscineError, match=r"data.channel 'mix', not 'left'"):
        check_same("run", {"data": {"workers": 2}}, {"data": {"workers": 2, "channel": "left"}}, [])
