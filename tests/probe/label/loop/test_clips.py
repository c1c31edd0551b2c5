"""Clips are read from the tables that oscine embed writes, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from oscine.models.embed.embed import embed_recordings
from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.errors import OscineError
from oscine.probe.label.loop.clips import find_recordings, read_clips
from tests.tiny_encoders import small_encoder


@pytest.fixture(scope="module")
def wood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, generator = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    (place / "recordings").mkdir()
    for name in ("a", "b"):
        soundfile.write(place / f"recordings/{name}.wav", 0.1 * generator.normal(size=40_000), 16_000)
    embed_recordings(small_encoder(), place / "recordings", place / "birds.parquet", workers=0)
    return place


def test_clips_have_their_recording_their_times_and_their_numbers(wood: Path) -> None:
    table = read_clips(wood / "birds.parquet")
    assert len(table.clips) == len(table.features) == 10
    assert table.clips[1] == ("a.wav", 0.5, 1.0)
    assert table.numbers[table.clips[7]] == 7
    assert find_recordings(table, wood / "recordings") == {
        f"{name}.wav": wood / f"recordings/{name}.wav" for name in "ab"
    }


def test_the_fingerprint_tells_tables_apart(wood: Path, tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes((wood / "recordings/a.wav").read_bytes())
    embed_recordings(small_encoder(), tmp_path, tmp_path / "birds.parquet", workers=0)
    one, other = read_clips(wood / "birds.parquet"), read_clips(tmp_path / "birds.parquet")
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == read_clips(wood / "birds.parquet").fingerprint


def test_a_clip_that_is_no_number_is_named(wood: Path, tmp_path: Path) -> None:
    table = pq.read_table(wood / "birds.parquet")
    numbers = table["embedding"].combine_chunks().flatten().to_numpy().copy()
    numbers[8 * 3] = np.nan
    column = type(table["embedding"].combine_chunks()).from_arrays(numbers, 8)
    pq.write_table(table.set_column(3, table.schema.field("embedding"), column), tmp_path / "birds.parquet")
    with pytest.raises(OscineError, match=r"not finite: embedding of a.wav from 1.5 s; make it anew"):
        read_clips(tmp_path / "birds.parquet")


def test_recordings_elsewhere_and_columns_that_are_not_there_are_said(wood: Path, tmp_path: Path) -> None:
    table = read_clips(wood / "birds.parquet")
    soundfile.write(tmp_path / "c.wav", np.zeros(8000), 16_000)
    with pytest.raises(
        OscineError, match=r"none of the 2 recordings of .* is in .*, such as a.wav; give the folder that"
    ):
        find_recordings(table, tmp_path)
    with pytest.raises(OscineError, match=r"no column 'cls_1'; name one of embedding"):
        read_clips(wood / "birds.parquet", "cls_1")
    with pytest.raises(OscineError, match="no table"):
        read_clips(wood / "none.parquet")
    extractor = EmbeddingExtractor(small_encoder(), pools=("cls", "mean"))
    embed_recordings(extractor, wood / "recordings", tmp_path / "two.parquet", workers=0)
    with pytest.raises(OscineError, match="several columns of vectors; name one of"):
        read_clips(tmp_path / "two.parquet")


def test_a_recording_that_is_gone_is_a_line_and_the_others_stay(
    wood: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b.wav").write_bytes((wood / "recordings/b.wav").read_bytes())
    assert [*find_recordings(read_clips(wood / "birds.parquet"), tmp_path)] == ["b.wav"]
    assert "1 of the 2 recordings" in caplog.text
    assert "their clips are not asked for" in caplog.text
