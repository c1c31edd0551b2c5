"""A file, a list, stretches and channels come to the table that the whole folder's recordings would give."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from oscine.models.audio.load import AudioError, load_audio
from oscine.models.audio.shard import Shard
from oscine.models.embed import clips
from oscine.models.embed import job as parts
from oscine.models.embed.embed import embed_file, embed_folder, embed_recordings
from oscine.models.embed.merge import merge_tables
from oscine.models.embed.progress import Progress, Watcher
from oscine.models.embed.table import read_embeddings, read_listed
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.models.recordings.headers import scan_headers
from tests.forked import started


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return BAT(dim=48, depth=2, heads=4, seconds=0.5).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.wav of 1.7 s; below/b.flac of 1.1 s with two channels at 22 kHz; c.ogg of 0.4 s."""
    noise = np.random.default_rng(0)
    for name, seconds, rate, channels in (
        ("a.wav", 1.7, 16000, 1),
        ("below/b.flac", 1.1, 22050, 2),
        ("c.ogg", 0.4, 16000, 1),
    ):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * noise.standard_normal((round(seconds * rate), channels)), rate)
    return tmp_path / "in"


def written(folder: Path, text: str, name: str = "list.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def listed(out: Path) -> dict[str, str]:
    return read_listed(out)


def table(encoder: Encoder, recordings: object, out: Path, **how: object) -> pd.DataFrame:
    embed_recordings(encoder, recordings, out, **{"workers": 0, "batch_size": 1, **how})  # type: ignore[arg-type]
    return read_embeddings(out)


def pooled(encoder: Encoder, path: Path, start: float, end: float, **how: object) -> np.ndarray:
    waveform = load_audio(path, encoder.sample_rate, start, end - start, **how)  # type: ignore[arg-type]
    with torch.inference_mode():
        return encoder([waveform]).pooled[0].numpy()


def test_a_list_of_all_files_gives_the_rows_of_the_folder(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    text = written(folder, "c.ogg\nbelow/b.flac\na.wav\n", "list.txt")
    by_list, by_folder = table(encoder, text, tmp_path / "l.parquet"), table(encoder, folder, tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(by_list, by_folder)
    assert list(by_list.index.get_level_values("file").unique()) == ["a.wav", "below/b.flac", "c.ogg"]
    given = [str(folder / name) for name in ("a.wav", "below/b.flac", "c.ogg")]
    by_paths = table(encoder, given, tmp_path / "p.parquet")
    np.testing.assert_array_equal(by_paths.to_numpy(), by_folder.to_numpy())
    assert list(by_paths.index.get_level_values("file").unique()) == given


def test_one_file_gives_its_rows_under_its_own_name(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    one = table(encoder, folder / "below/b.flac", tmp_path / "one.parquet")
    whole = table(encoder, folder, tmp_path / "f.parquet").loc[["below/b.flac"]]
    np.testing.assert_array_equal(one.to_numpy(), whole.to_numpy())
    assert set(one.index.get_level_values("file")) == {"b.flac"}


def test_the_older_name_is_the_same_function() -> None:
    assert embed_folder is embed_recordings


def test_stretches_are_cut_by_themselves_and_timed_in_their_recording(
    encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    text = written(
        folder, "path,start,end\na.wav,0.9,\na.wav,0.3,0.5\nbelow/b.flac,0.25,0.95\nc.ogg,,\na.wav,0.9,1.3\n"
    )
    found = table(encoder, text, tmp_path / "out.parquet", batch_size=3)
    times = [(file, pytest.approx(start), pytest.approx(end)) for file, start, end in found.index]
    assert times == [
        ("a.wav", 0.3, 0.5), ("a.wav", 0.9, 1.3), ("a.wav", 0.9, 1.4), ("a.wav", 1.4, 1.7),
        ("below/b.flac", 0.25, 0.75), ("below/b.flac", 0.75, 0.95), ("c.ogg", 0.0, 0.4),
    ]  # fmt: skip
    for (file, start, end), row in zip(found.index, found.to_numpy()):
        np.testing.assert_allclose(row, pooled(encoder, folder / file, start, end), atol=2e-5)


def test_the_summary_counts_the_seconds_of_stretches_and_not_what_lies_between(
    encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    soundfile.write(folder / "long.wav", np.zeros(16000 * 9), 16000)
    text = written(folder, "path,start,end\nlong.wav,1,2\nlong.wav,7,7.25\n")
    summary = embed_recordings(encoder, text, tmp_path / "out.parquet", workers=0)
    assert (summary.files, summary.seconds) == (1, pytest.approx(1.25))


def test_missing_and_broken_files_and_late_stretches_of_a_list_are_listed(
    encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    (folder / "page.wav").write_text("<html>" * 50)
    text = written(folder, "path,start,end\na.wav,,\nnone.wav,,\npage.wav,,\nc.ogg,0.1,0.2\nc.ogg,3,4\nbelow,,\n")
    rows = table(encoder, text, tmp_path / "out.parquet")
    assert set(rows.index.get_level_values("file")) == {"a.wav", "c.ogg"}
    reasons = listed(tmp_path / "out.parquet")
    assert reasons.keys() == {"none.wav", "page.wav", "c.ogg", "below"}
    assert reasons["none.wav"] == "there is no such file; check the path"
    assert reasons["c.ogg"] == "lasts 0.400 s and has no stretch from 3 s to 4 s; correct its row"
    assert "is no audio" in reasons["page.wav"]
    assert "is a folder" in reasons["below"]


def test_a_stretch_without_a_sample_is_listed_and_takes_no_others_along(
    encoder: Encoder, folder: Path, tmp_path: Path
) -> None:
    text = written(folder, "path,start,end\nc.ogg,0,0.2\nc.ogg,0.39999,0.4\na.wav,0.1,0.10001\na.wav,0.1,0.2\n")
    rows = table(encoder, text, tmp_path / "out.parquet")
    assert [(file, start) for file, start, _ in rows.index] == [("a.wav", 0.1), ("c.ogg", 0.0)]
    reasons = listed(tmp_path / "out.parquet")
    assert reasons["c.ogg"] == "lasts 0.400 s and has no stretch from 0.39999 s to 0.4 s; correct its row"
    assert "has no stretch from 0.1 s to 0.10001 s" in reasons["a.wav"]


def test_a_stretch_that_is_cut_short_does_not_take_others_along(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    short = folder / "short.flac"
    soundfile.write(short, 0.1 * np.random.default_rng(1).standard_normal(16000 * 4), 16000)
    short.write_bytes(short.read_bytes()[: short.stat().st_size // 2])  # two seconds, about
    text = written(folder, "path,start,end\nshort.flac,0,3\nshort.flac,0.5,1\nshort.flac,3.2,3.8\n")
    rows = table(encoder, text, tmp_path / "out.parquet")
    starts = [start for _, start, _ in rows.index]
    assert starts[:3] == [0.0, 0.5, 1.0]
    assert starts[-1] == 0.5
    assert max(end for _, _, end in rows.index) < 2.5
    assert listed(tmp_path / "out.parquet")["short.flac"].startswith("truncated")


def test_each_channel_has_rows_of_its_own(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    rows = table(encoder, folder, tmp_path / "each.parquet", channel="each")
    assert rows.index.names == ["file", "start_time", "end_time", "channel"]
    by_channel = rows.loc["below/b.flac"].index.get_level_values("channel")
    assert by_channel.tolist() == [1, 1, 1, 2, 2, 2]
    right = table(encoder, folder / "below/b.flac", tmp_path / "right.parquet", channel="right")
    np.testing.assert_array_equal(rows.loc["below/b.flac"].to_numpy()[3:], right.to_numpy())
    assert pq.read_schema(tmp_path / "each.parquet").names[:4] == ["file", "start_time", "end_time", "channel"]
    assert "channel" not in pq.read_schema(tmp_path / "right.parquet").names
    for (start, end, _), row in zip(rows.loc["below/b.flac"].index[3:], right.to_numpy()):
        np.testing.assert_allclose(row, pooled(encoder, folder / "below/b.flac", start, end, channel=2), atol=2e-5)


def test_the_mix_is_what_it_always_was(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    rows, mix = (
        table(encoder, folder, tmp_path / f"{n}.parquet", **how) for n, how in enumerate(({}, {"channel": "mix"}))
    )
    pd.testing.assert_frame_equal(rows, mix)
    assert (tmp_path / "0.parquet").read_bytes() == (tmp_path / "1.parquet").read_bytes()


def test_a_channel_that_a_file_lacks_makes_it_a_bad_file(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    rows = table(encoder, folder, tmp_path / "out.parquet", channel=2)
    assert set(rows.index.get_level_values("file")) == {"below/b.flac"}
    assert listed(tmp_path / "out.parquet") == dict.fromkeys(
        ["a.wav", "c.ogg"], "has 1 channel, no channel 2; choose another one, or mix"
    )


def test_one_file_by_itself_may_be_read_by_channels_too(encoder: Encoder, folder: Path) -> None:
    path = folder / "below/b.flac"
    each = embed_file(encoder, path, channel="each")
    assert each.index.get_level_values("channel").tolist() == [1, 1, 1, 2, 2, 2]
    np.testing.assert_allclose(each.to_numpy()[:3], embed_file(encoder, path, channel="left").to_numpy(), atol=2e-5)
    with pytest.raises(AudioError, match=r"a\.wav: has 1 channel, no channel 2"):
        embed_file(encoder, folder / "a.wav", channel="right")


@pytest.mark.parametrize("name", ["out.csv", "out.npz"])
def test_the_channel_stands_in_every_format(encoder: Encoder, folder: Path, tmp_path: Path, name: str) -> None:
    embed_recordings(encoder, folder, tmp_path / name, workers=0, channel="each")
    table = pd.read_csv(tmp_path / name) if name.endswith("csv") else np.load(tmp_path / name)
    assert list(table["channel"]) == [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 1]


class Killed(Watcher):
    def progress(self, progress: Progress) -> None:
        if progress.clips >= 5:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("how", [{}, {"channel": "each"}])
def test_killed_on_a_list_it_goes_on_and_ends_the_same(
    encoder: Encoder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, str]
) -> None:
    monkeypatch.setattr(parts, "BATCHES", 1)
    monkeypatch.setattr(clips, "CHUNK_SECONDS", 1)
    text = written(
        folder, "path,start,end\na.wav,0.9,\na.wav,0.3,0.5\nbelow/b.flac,0.25,0.95\nnone.wav,,\nc.ogg,,\na.wav,,\n"
    )
    settings = {"workers": 0, "batch_size": 2, **how}
    embed_recordings(encoder, text, tmp_path / "whole.parquet", **settings)
    process = started(embed_recordings, encoder, text, tmp_path / "out.parquet", watcher=Killed(), **settings)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert list((tmp_path / "out.parquet.journal").glob("0*.parquet"))
    for other, complaint in (
        ({"channel": "left"}, "was begun with channel '?(mix|each)'?, not 1"),
        ({"hop": 0.25}, "hop_seconds"),
    ):
        with pytest.raises(OscineError, match=complaint):
            embed_recordings(encoder, text, tmp_path / "out.parquet", **{**settings, **other})
    before = text.read_text()
    text.write_text(before.replace("0.3,0.5", "0.3,0.6"))
    with pytest.raises(OscineError, match=r"folder or list held other recordings \(1 changed, such as a\.wav\)"):
        embed_recordings(encoder, text, tmp_path / "out.parquet", **settings)
    text.write_text(before)
    embed_recordings(encoder, text, tmp_path / "out.parquet", **settings)
    for suffix in (".parquet",):
        assert (tmp_path / "out").with_suffix(suffix).read_bytes() == (tmp_path / "whole").with_suffix(
            suffix
        ).read_bytes()


def test_a_moved_list_with_its_recordings_goes_on(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    """Names are relative to the list, so that neither the current folder nor the list's own place matters."""
    text = written(folder, "a.wav\nc.ogg\n", "list.txt")
    embed_recordings(encoder, text, tmp_path / "one.parquet", workers=0)
    shutil.copytree(folder, tmp_path / "moved")
    embed_recordings(encoder, tmp_path / "moved/list.txt", tmp_path / "two.parquet", workers=0)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_shards_of_a_list_are_merged(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    text = written(folder, "path,start,end\na.wav,0.9,\na.wav,0.3,0.5\nbelow/b.flac,,\nc.ogg,,\n")
    paths = [tmp_path / f"{number}.parquet" for number in (1, 2)]
    for number, path in enumerate(paths, 1):
        embed_recordings(encoder, text, path, workers=0, batch_size=1, shard=Shard(number, 2), channel="each")
    merge_tables(tmp_path / "all.parquet", paths)
    whole = table(encoder, text, tmp_path / "one.parquet", channel="each")
    pd.testing.assert_frame_equal(read_embeddings(tmp_path / "all.parquet"), whole)


def test_what_readers_are_handed_can_be_sent_to_another_process(encoder: Encoder, folder: Path) -> None:
    text = written(folder, "path,start,end\na.wav,0.3,0.5\nbelow/b.flac,,\n")
    layout = clips.make_layout(encoder)
    chunks = [
        chunk for one in scan_headers(text, channel="each").recordings for chunk in clips.split_recording(one, layout)
    ]
    assert pickle.loads(pickle.dumps(chunks)) == chunks
    reader = pickle.loads(pickle.dumps(clips.ChunkReader(layout)))
    assert [len(reader[chunk].waveform) for chunk in chunks] == [3200, 17600, 17600]


def test_processes_that_read_give_the_same_rows(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    text = written(folder, "path,start,end\na.wav,0.3,0.9\nbelow/b.flac,,\nc.ogg,,\n")
    alone, helped = (table(encoder, text, tmp_path / f"{n}.parquet", channel="each", workers=n) for n in (0, 2))
    pd.testing.assert_frame_equal(alone, helped)


def test_arguments_in_another_order_are_told_the_right_one(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    with pytest.raises(
        OscineError, match=r"is '.*in', expected an encoder; call embed_recordings\(encoder, recordings, out\)$"
    ):
        embed_recordings(str(folder), encoder, out)  # type: ignore[arg-type]
    with pytest.raises(OscineError, match=r"expected an encoder; call embed_file\(encoder, path\)$"):
        embed_file(folder / "a.wav", encoder)  # type: ignore[arg-type]
    with pytest.raises(
        OscineError, match=r"is 'bird_mae_tiny', expected .*, with the encoder that create_model returns"
    ):
        embed_recordings("bird_mae_tiny", folder, out)  # type: ignore[arg-type]


def test_a_list_is_not_replaced_by_its_table(encoder: Encoder, folder: Path) -> None:
    text = written(folder, "path,start,end\na.wav,0,0.2\n")
    with pytest.raises(OscineError, match=r"is what is read, a list or a recording; give the table another name"):
        embed_recordings(encoder, text, text, overwrite=True)
    assert text.read_text().startswith("path,start")
