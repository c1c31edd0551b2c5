"""Tar files that others wrote in webdataset's layout are pretrained from as they lie there."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from oscine.cli import dispatch
from oscine.models.audio.load import AudioError, load_audio
from oscine.models.audio.tar import load_member
from oscine.models.errors import OscineError
from oscine.pretrain.data.clips import readable
from oscine.pretrain.data.sources import FileSource, find_source
from oscine.pretrain.data.spans import Span

RATE = 16_000
LENGTHS = {"a/0001": 1.5, "a/0002": 0.4, "b_0003": 3.0, "b_0004": 1.0}


def sound(key: str, suffix: str) -> bytes:
    file = io.BytesIO()
    waveform = np.random.default_rng(len(key)).uniform(-0.5, 0.5, round(LENGTHS[key] * RATE))
    soundfile.write(file, waveform, RATE, format=suffix.upper())
    return file.getvalue()


def write_tar(path: Path, samples: dict[str, dict[str, bytes]]) -> None:
    """As webdataset's ShardWriter lays it: a sample's files in a row, its own name as the owner, times with fractions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(str(path), "w|gz" if path.name.endswith("gz") else "w|") as tar:
        for key, files in samples.items():
            for suffix, content in sorted(files.items()):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size, member.mode, member.mtime = len(content), 0o444, 1731000000.25  # type: ignore[assignment]
                member.uname = member.gname = "bigdata"
                tar.addfile(member, io.BytesIO(content))


def write_folder(folder: Path, suffix: str, beside: str, ending: str = "tar", broken: bool = True) -> Path:
    """Two tars of two recordings, one of which also holds one that is none."""
    about = json.dumps({"label": "amerob"}).encode()
    made = [{key: {suffix: sound(key, suffix), beside: about} for key in LENGTHS if key[0] == first} for first in "ab"]
    if broken:
        made[1]["b_0005"] = {suffix: b"no audio", beside: about}
    for number, samples in enumerate(made):
        write_tar(folder / f"{number:06d}.{ending}", samples)
    return folder


@pytest.mark.parametrize(
    ("suffix", "beside", "ending"), [("flac", "json", "tar"), ("wav", "txt", "tar"), ("ogg", "cls", "tar.gz")]
)
def test_tars_of_others_give_what_their_recordings_would_give_as_files(
    suffix: str, beside: str, ending: str, tmp_path: Path
) -> None:
    source = find_source(write_folder(tmp_path / "tars", suffix, beside, ending))
    paths = []
    for key in LENGTHS:
        paths.append(tmp_path / f"{Path(key).name}.{suffix}")
        paths[-1].write_bytes(sound(key, suffix))
    spans = list(source.spans())
    assert spans[:4] == list(FileSource(paths).spans()) == [Span(n, 0.0, s) for n, s in enumerate(LENGTHS.values())]
    for number, path in enumerate(paths):
        assert source.name(number) == str(tmp_path / "tars" / f"{number // 2:06d}.{ending}" / path.name)
        for rate, start, seconds in ((RATE, 0.0, 0.4), (8_000, 0.1, 0.3), (RATE, 0.25, 60.0)):
            assert torch.equal(source.load(number, rate, start, seconds), load_audio(path, rate, start, seconds))


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_a_bad_member_is_an_error_by_its_name(ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = find_source(write_folder(tmp_path, "flac", "json", ending))
    assert [str(found) for found in source.spans() if isinstance(found, AudioError)] == [
        f"{tmp_path}/000001.{ending}/b_0005.flac: is no audio that can be read here; convert it to WAV or FLAC, or leave "
        "it out"
    ]
    assert len(readable(source, 0.5)) == 4
    assert f"left out: {tmp_path}/000001.{ending}/b_0005.flac" in caplog.text
    with pytest.raises(AudioError, match=rf"000001\.{ending}/b_0005\.flac: is "):
        source.load(4, RATE, 0.0, 1.0)
    (tmp_path / f"000001.{ending}").unlink()
    with pytest.raises(AudioError, match=rf"000001\.{ending}.*: could not be opened \(No such file"):
        source.load(2, RATE, 0.0, 1.0)


def test_of_a_tar_that_is_not_compressed_a_part_is_read_without_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(
        "oscine.models.audio.tar.load_member", lambda *given, **how: asked.append(given) or load_member(*given, **how)
    )
    for ending, count in {"tar": 1, "tgz": 0}.items():
        source = find_source(write_folder(tmp_path / ending, "wav", "txt", ending))
        assert len(source.load(2, RATE, 1.0, 0.5)) == RATE // 2
        assert len(asked) == count
        asked.clear()


def test_a_run_takes_the_folder(tmp_path: Path) -> None:
    tars = write_folder(tmp_path / "tars", "flac", "json", broken=False)
    tiny = """--encoder.dim 24 --encoder.depth 1 --encoder.heads 2 --recipe.decoder_dim 16 --recipe.decoder_depth 1
    --recipe.decoder_heads 2 --recipe.steps 2 --recipe.warmup 1 --data.batch_size 2 --data.workers 1""".split()
    assert dispatch(["pretrain", "bird_mae_tiny", "--runs", str(tmp_path), "--data.recordings", str(tars), *tiny]) == 0
    assert (tmp_path / "bird_mae_tiny" / "encoder" / "model.safetensors").exists()


def test_tars_beside_recordings_are_passed_over_and_so_are_hidden_ones(tmp_path: Path) -> None:
    write_folder(tmp_path, "flac", "json")
    (tmp_path / "._000000.tar").write_bytes(b"x")
    assert len(list(find_source(tmp_path).spans())) == 5
    for beside in ("below", ""):
        (tmp_path / beside).mkdir(exist_ok=True)
        (tmp_path / beside / "one.wav").write_bytes(sound("b_0004", "wav"))
        assert isinstance(found := find_source(tmp_path), FileSource)
        assert {path.name for path in found.paths} == {"one.wav"}


def test_tars_without_recordings_and_what_is_no_tar_are_said_in_one_line(tmp_path: Path) -> None:
    write_tar(tmp_path / "text" / "000000.tar", {"a": {"json": b"{}"}})
    with pytest.raises(OscineError, match=r"no recordings in 1 tar files, such as .*/000000\.tar; looked for \.aif"):
        find_source(tmp_path / "text")
    (tmp_path / "text" / "000001.tar").write_bytes(b"x" * 600)
    with pytest.raises(OscineError, match=r"000001\.tar is no whole tar file"):
        find_source(tmp_path / "text")


def test_tars_that_cannot_be_read_are_listed_and_the_others_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path, "flac", "json", broken=False)
    (tmp_path / "gone.tar").symlink_to(tmp_path / "nowhere.tar")
    os.mkfifo(tmp_path / "pipe.tar")  # which would be waited on for ever
    assert len(list(find_source(tmp_path).spans())) == 4
    assert f"left out: {tmp_path}/gone.tar: there is no such file" in caplog.text
    assert f"left out: {tmp_path}/pipe.tar: is no file" in caplog.text
    for path in tmp_path.glob("0*.tar"):
        path.unlink()
    with pytest.raises(OscineError, match=r"none of the 2 tar files in .* can be read, such as gone\.tar"):
        find_source(tmp_path)


def test_a_recording_of_unknown_length_in_a_tar_is_as_long_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    streamed, short = bytearray(sound("b_0003", "flac")), sound("b_0004", "wav")
    streamed[21] &= 0xF0  # the number of samples, which a pipe cannot be told
    streamed[22:26] = bytes(4)
    files = {
        "b_0003": {"flac": bytes(streamed)},
        "b_0004": {"wav": short[:40] + (16_000).to_bytes(4, "little") + short[44:]},
    }
    for ending in ("tar", "tar.gz"):
        write_tar(tmp_path / ending / f"0.{ending}", files)
        source = find_source(tmp_path / ending)
        assert list(source.spans()) == [Span(0, 0.0, 3.0), Span(1, 0.0, 1.0)]
        assert len(source.load(0, RATE, 2.5, 60.0)) == RATE // 2
        assert f"0.{ending}/b_0004.wav: header: says 0.500 s, but the file holds 1.000 s" in caplog.text


def test_a_folder_that_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: str) -> None:  # a mode of 000 does not stop root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(OscineError, match=r"may not be read; give yourself permission to read it"):
        find_source(tmp_path)
