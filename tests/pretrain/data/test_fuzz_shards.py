"""Packed shards, their index and the records of packing, damaged by a seed: each reader ends, with one line at most."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from oscine.models.errors import OscineError
from oscine.pretrain.data import packing
from oscine.pretrain.data.packing import pack_shards, read_packed
from oscine.pretrain.data.shards import ShardSource, check_shards
from tests.fuzzing import check_reader, hostile, json_of

RATE = 8000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, noise = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    (place / "in").mkdir()
    for number in range(6):
        soundfile.write(place / f"in/{number}.wav", 0.1 * noise.standard_normal(4000), RATE)
    pack_shards(place / "in", place / "out", RATE, size=20_000, workers=0)
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "made"))


def read_all(out: Path) -> None:
    shards = ShardSource(out)
    for recording in range(len(shards.names)):
        shards.name(recording)
        shards.load(recording, RATE, 0.0, 0.5)
    list(shards.spans())


def test_the_index_in_json(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = place / "out"

    def read() -> None:
        read_packed(out)
        read_all(out)
        check_shards(out)

    assert check_reader(out / "index.json", read, 150, json_of(out / "index.json")) > 100
    assert check_reader(out / "index.json", read, 100) > 50
    assert capfd.readouterr().err == ""


def without_hash(out: Path) -> None:
    """Make of an index one of 0.1."""
    index = json.loads((out / "index.json").read_bytes())
    del index["rows_sha256"], index["listed"]
    (out / "index.json").write_text(json.dumps(index))
    (out / "errors.csv").write_text("file,reason\n")


def test_the_index_of_rows_also_without_its_hash(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = place / "out"
    assert check_reader(out / "index.parquet", lambda: read_all(out), 100) == 100, "the hash finds every change"
    without_hash(out)
    assert check_reader(out / "index.parquet", lambda: read_all(out), 200) > 100
    assert capfd.readouterr().err == "", "nothing is printed from within libsndfile"


def test_hostile_numbers_in_the_index_of_rows(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = place / "out"
    without_hash(out)
    rows = pq.read_table(out / "index.parquet")
    numbers = [-(2**31), -1, 0, 1, 511, 10**6, 2**31 - 1]

    def damage(content: bytes, chance: Random) -> bytes:
        column = chance.choice(["shard", "offset", "length", "frames"])
        values = rows[column].to_pylist()
        values[chance.randrange(len(values))] = chance.choice(numbers)
        other = rows.to_pydict() | {column: values}
        pq.write_table(rows.from_pydict(other, schema=rows.schema), out / "other.parquet")
        return (out / "other.parquet").read_bytes()

    check_reader(out / "index.parquet", lambda: read_all(out), 100, damage)
    check_reader(out / "index.parquet", lambda: check_shards(out), 50, damage)
    assert capfd.readouterr().err == ""


def test_shards_themselves(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = place / "out"
    check_reader(out / "000000.tar", lambda: read_all(out), 150)
    assert check_reader(out / "000000.tar", lambda: check_shards(out), 50) > 40
    assert capfd.readouterr().err == ""


def test_the_records_of_a_packing_that_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, index = place / "stopped", packing._write_index

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packing, "_write_index", stop)
    with pytest.raises(KeyboardInterrupt):
        pack_shards(place / "in", out, RATE, size=20_000, workers=0)
    monkeypatch.setattr(packing, "_write_index", index)

    def goes_on() -> None:
        copy = Path(shutil.copytree(out, place / "copy", dirs_exist_ok=False))
        try:
            pack_shards(place / "in", copy, RATE, size=20_000, workers=0)
        finally:
            shutil.rmtree(copy)

    for name in ("plan.json", "000000.json"):
        path = out / ".packing" / name
        check_reader(path, goes_on, 40, lambda content, chance: hostile(json.loads(content), chance))


def test_a_rate_that_no_recording_has_is_refused_with_the_reason(place: Path) -> None:
    for rate in (0, 2**31):
        with pytest.raises(OscineError, match=f"a rate of {rate} Hz .*; expected 1 to 1000000 Hz"):
            pack_shards(place / "in", place / "new", rate, workers=0)
        path = place / "out/index.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"sample_rate": rate}))
        with pytest.raises(OscineError, match=f"sample_rate is {rate}, expected 1 to 1000000 Hz"):
            ShardSource(place / "out")


@pytest.mark.parametrize("name", ["../out/000000.tar", "/etc/passwd", "000001.tar", ""])
def test_an_index_leads_to_no_other_file(place: Path, name: str) -> None:
    path = place / "out/index.json"
    index = json.loads(path.read_bytes())
    index["shards"][0]["name"] = name
    path.write_text(json.dumps(index))
    with pytest.raises(OscineError, match=r"shard 0 is .*, expected 000000\.tar"):
        ShardSource(place / "out")


def test_check_reads_the_index_as_well(place: Path) -> None:
    rows = pq.read_table(place / "out/index.parquet")
    pq.write_table(rows.slice(0, 2), place / "out/index.parquet")
    with pytest.raises(OscineError, match=r"index\.parquet is not as it was packed"):
        check_shards(place / "out")
    without_hash(place / "out")
    with pytest.raises(OscineError, match=r"index\.parquet has 2 recordings of 1\.0 s, index\.json says 6 of 3\.0 s"):
        check_shards(place / "out")
