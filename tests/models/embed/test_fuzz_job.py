"""Tables, their error lists and metadata, and journals, damaged by a seed: each reader ends, with one line at most."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from oscine.models.audio.shard import Shard
from oscine.models.embed import job as parts
from oscine.models.embed.embed import embed_folder
from oscine.models.embed.journal import Journal
from oscine.models.embed.merge import merge_tables
from oscine.models.embed.table import read_embeddings, read_listed, read_made_by, read_rows, read_schema
from oscine.models.embed.table_metadata import errors_path
from tests.fuzzing import check_reader, hostile
from tests.models.embed.test_tables import Stop, interrupt
from tests.tiny_encoders import small_encoder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of a folder with an empty recording, a table in CSV, and a journal that goes on."""
    place, noise = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    (place / "in").mkdir()
    for number in range(6):
        soundfile.write(place / f"in/{number}.wav", 0.1 * noise.standard_normal(8000), 16000)
    (place / "in/torn.wav").touch()
    encoder = small_encoder()
    for number in (1, 2):
        embed_folder(encoder, place / "in", place / f"{number}.parquet", shard=Shard(number, 2), workers=0)
    embed_folder(encoder, place / "in", place / "all.csv", workers=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "BATCHES", 1)
        with pytest.raises(KeyboardInterrupt):
            embed_folder(
                encoder, place / "in", place / "j.parquet", batch_size=2, workers=0, watcher=Stop(5, interrupt)
            )
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "made"))


def merged(place: Path) -> None:
    merge_tables(place / "merged.parquet", [place / "1.parquet", place / "2.parquet"], overwrite=True)


def test_tables_with_damaged_bytes(place: Path) -> None:
    path = place / "1.parquet"
    assert check_reader(path, lambda: read_embeddings(path), 300) > 200
    assert check_reader(path, lambda: merged(place), 60) > 40


def test_tables_with_hostile_metadata(place: Path) -> None:
    table = pq.read_table(place / "1.parquet")

    def damage(content: bytes, chance: Random) -> bytes:
        said = hostile(json.loads(table.schema.metadata[b"oscine"]), chance)
        pq.write_table(table.replace_schema_metadata({b"oscine": said}), place / "other.parquet")
        return (place / "other.parquet").read_bytes()

    assert check_reader(place / "1.parquet", lambda: merged(place), 200, damage) > 100


def test_error_lists(place: Path) -> None:
    [path] = place.glob("?.parquet.errors.csv")
    table = path.with_name(path.name.removesuffix(".errors.csv"))
    check_reader(path, lambda: read_listed(table), 200)
    check_reader(errors_path(place / "all.csv"), lambda: read_listed(place / "all.csv"), 50)


def test_tables_in_csv(place: Path) -> None:
    path, metadata = place / "all.csv", place / "all.metadata.json"
    check_reader(path, lambda: list(read_rows(path)), 200)
    check_reader(metadata, lambda: read_made_by(path), 100)
    check_reader(
        metadata, lambda: read_made_by(path), 200, lambda content, chance: hostile(json.loads(content), chance)
    )


def test_journals(place: Path) -> None:
    out, folder = place / "j.parquet", place / "j.parquet.journal"
    plan, part = folder / "plan.json", folder / "000000.parquet"

    def goes_on() -> None:
        with closing(Journal(out)) as journal:
            begun = json.loads(plan.read_bytes())
            journal.open(
                begun["settings"], begun["recordings"], overwrite=False, schema=read_schema(place / "1.parquet")
            )
            list(journal.rows(None))

    assert check_reader(part, goes_on, 150) > 100
    check_reader(plan, lambda: Journal(out).plan(), 100)
    check_reader(plan, lambda: Journal(out).plan(), 200, lambda content, chance: hostile(json.loads(content), chance))
