"""Tables that were changed after they were written, by whomever: refused in one line, never merged or read as if whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from oscine.models.audio.shard import Shard
from oscine.models.embed import job as parts
from oscine.models.embed import table
from oscine.models.embed.embed import embed_file, embed_folder
from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.embed.merge import merge_tables
from oscine.models.embed.progress import Progress, Watcher
from oscine.models.embed.table import read_embeddings, read_listed, read_rows, read_schema
from oscine.models.embed.table_metadata import errors_in_csv, errors_path
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.export.onnx import export_onnx
from tests.forked import FORK
from tests.tiny_encoders import small_encoder

Change = Callable[[pa.Table], pa.Table]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine recordings, one of which is empty, and the tables of three shards of them."""
    place, noise = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    (place / "in").mkdir()
    for number in range(8):
        soundfile.write(place / f"in/{number}.wav", 0.1 * noise.standard_normal(8000 * (1 + number % 3)), 16000)
    (place / "in/torn.wav").touch()
    for number in (1, 2, 3):
        embed_folder(small_encoder(), place / "in", place / f"{number}.parquet", shard=Shard(number, 3), workers=0)
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    for path in made.glob("*.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture
def shards(place: Path) -> list[Path]:
    """First the one with an error list."""
    [errors] = place.glob("*.errors.csv")
    first = errors.with_name(errors.name.removesuffix(".errors.csv"))
    return sorted(place.glob("?.parquet"), key=lambda path: path != first)


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(OscineError) as caught:
        work()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(path: Path, how: Change) -> None:
    pq.write_table(how(pq.read_table(path)), path)


def say(path: Path, **facts: object) -> None:
    """Let the metadata say other things."""
    content = pq.read_table(path)
    said = json.loads(content.schema.metadata[b"oscine"]) | facts
    pq.write_table(content.replace_schema_metadata({b"oscine": json.dumps(said)}), path)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        (lambda rows: rows.slice(1), "rows of"),
        (lambda rows: rows.slice(0, 0), "holds 0 rows of 0 recordings"),
        (lambda rows: pa.concat_tables([rows, rows]), "rows of"),
        (
            lambda rows: rows.take(list(range(len(rows)))[::-1]),
            "other rows than it was written with, or in another order",
        ),
        (lambda rows: rows.drop_columns(["embedding"]), "has no column embedding"),
        (lambda rows: rows.drop_columns(["start_time"]), "has no column start_time"),
        (lambda rows: rows.append_column("file", rows["file"]), "has a column twice"),
        (lambda rows: rows.set_column(0, "file", pa.array(range(len(rows)))), "its column file is of the type int64"),
        (lambda rows: rows.set_column(0, "file", pa.nulls(len(rows), pa.string())), "rows without a file or a time"),
        (
            lambda rows: rows.set_column(3, "embedding", rows["embedding"].cast(pa.list_(pa.float16(), 8))),
            "its column embedding is of the type .*halffloat",
        ),
    ],
)
def test_rows_that_are_lost_or_others_are_refused_by_every_reader(
    shards: list[Path], tmp_path: Path, how: Change, complaint: str
) -> None:
    change(shards[0], how)
    for reader in (
        lambda: merge_tables(tmp_path / "all.parquet", shards),
        lambda: read_embeddings(shards[0]),
        lambda: list(read_rows(shards[0])),
    ):
        with pytest.raises(OscineError, match=complaint):
            raise OscineError(refused(reader))
    assert not list(tmp_path.glob("*all*"))


def test_a_flipped_bit_of_a_number_is_found(shards: list[Path], tmp_path: Path) -> None:
    column = pq.read_metadata(shards[0]).row_group(0).column(3)
    content = bytearray(shards[0].read_bytes())
    content[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size // 2] ^= 1
    shards[0].write_bytes(content)
    assert "is damaged" in refused(lambda: merge_tables(tmp_path / "all.parquet", shards))
    assert "is damaged" in refused(lambda: read_embeddings(shards[0]))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"file,reason\na,b,c\n", b"file,reason\na\n", b"a,b\n", b"file,reason\n\xe4,b\n",
        b"file,reason\n" + b"a" * 200_000 + b",b\n", b"file,reason\n", b"file,reason\na,b\nc,d\n", None,
    ],
)  # fmt: skip
def test_an_error_list_that_is_none_is_refused(shards: list[Path], tmp_path: Path, content: bytes | None) -> None:
    errors = errors_path(shards[0])
    errors.unlink()
    if content is None:
        errors.mkdir()
    else:
        errors.write_bytes(content)
    assert errors.name in refused(lambda: merge_tables(tmp_path / "all.parquet", shards))


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"shard": 1}, "shard is '1', expected a text"),
        ({"shard": "1/1000000000"}, "expected NUMBER/OF with numbers from 1 to 100000"),
        ({"folder": None}, "folder is 'None', expected an object"),
        ({"folder": {"recordings": "a", "names": "b"}}, "recordings is 'a', expected a whole number"),
        ({"hop_seconds": 0}, "hop_seconds is 0, expected more than 0"),
        ({"hop_seconds": float("nan")}, "hop_seconds is 'nan', expected a number"),
        ({"dtype": "int8"}, "dtype is 'int8', expected float32 or float16"),
        ({"version": "99.0"}, "is of oscine 99.0, this is .*; update oscine"),
        ({"content": {}}, "content has no rows"),
    ],
)
def test_metadata_that_no_table_has_are_refused(
    shards: list[Path], tmp_path: Path, facts: dict[str, object], complaint: str
) -> None:
    for path in shards:
        say(path, **facts)
    with pytest.raises(OscineError, match=complaint):
        raise OscineError(refused(lambda: merge_tables(tmp_path / "all.parquet", shards)))


@pytest.mark.parametrize("raw", [b"{", b"[]", b"1", b"[" * 100_000, b"\xff", b'{"shard": ' + b"9" * 5000 + b"}"])
def test_metadata_that_are_no_object_of_json_are_refused(shards: list[Path], raw: bytes) -> None:
    pq.write_table(pq.read_table(shards[0]).replace_schema_metadata({b"oscine": raw}), shards[0])
    assert "metadata" in refused(lambda: read_schema(shards[0]))


def test_a_table_is_not_merged_into_itself(shards: list[Path]) -> None:
    before = shards[0].read_bytes()
    said = refused(lambda: merge_tables(shards[0], shards, overwrite=True))
    assert "is to be written, and is one of the tables to join" in said
    assert shards[0].read_bytes() == before


def as_in_0_1(path: Path) -> None:
    """Make of a table one as 0.1 wrote it, with its error list under the name that both formats had."""
    listed = read_listed(path)
    content = pq.read_table(path)
    said = json.loads(content.schema.metadata[b"oscine"])
    del said["content"], said["shortest"]
    pq.write_table(content.replace_schema_metadata({b"oscine": json.dumps(said)}), path)
    errors_path(path).unlink(missing_ok=True)
    path.with_suffix(".errors.csv").write_bytes(errors_in_csv(listed))


def test_tables_of_0_1_are_merged_with_the_error_lists_that_they_always_had(shards: list[Path], tmp_path: Path) -> None:
    merge_tables(tmp_path / "new.parquet", shards)
    for path in shards:
        as_in_0_1(path)
    summary = merge_tables(tmp_path / "old.parquet", shards)
    assert list(summary.listed) == ["torn.wav"]
    assert read_embeddings(tmp_path / "old.parquet").equals(read_embeddings(tmp_path / "new.parquet"))
    assert json.loads(pq.read_schema(tmp_path / "old.parquet").metadata[b"oscine"])["shortest"] == 0.0
    shards[0].with_suffix(".errors.csv").unlink()
    assert refused(lambda: merge_tables(tmp_path / "other.parquet", shards)).endswith(
        ".errors.csv; copy it again beside its table, or make the table anew with overwrite"
    )


def test_tables_with_and_without_short_last_clips_are_not_merged(shards: list[Path], tmp_path: Path) -> None:
    as_in_0_1(shards[1])
    assert "it was made with shortest 0.0, not 0.05" in refused(lambda: merge_tables(tmp_path / "all.parquet", shards))


def test_every_table_has_its_own_error_list_and_a_clean_one_has_none(made: Path, tmp_path: Path) -> None:
    for name in ("emb.parquet", "emb.csv"):
        embed_folder(small_encoder(), made / "in", tmp_path / name, workers=0)
    names = ["emb.csv", "emb.csv.errors.csv", "emb.metadata.json", "emb.parquet", "emb.parquet.errors.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    embed_folder(small_encoder(), made / "in/0.wav", tmp_path / "emb.parquet", workers=0, overwrite=True)
    assert not errors_path(tmp_path / "emb.parquet").exists(), "the list of the table that was replaced"
    assert read_listed(tmp_path / "emb.parquet") == {}


@pytest.mark.parametrize("after", ["errors", "metadata", "table"])
def test_a_merge_that_is_killed_between_two_files_ends_when_called_again(
    shards: list[Path], place: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    put = table.put

    def put_and_die(part: Path, target: Path) -> None:
        put(part, target)
        if part.name == after:
            os._exit(9)

    monkeypatch.setattr(table, "put", put_and_die)
    process = FORK.Process(target=merge_tables, args=(place / "all.csv", shards))
    process.start()
    process.join()
    assert process.exitcode == 9
    monkeypatch.undo()
    if after == "table":
        assert "exists already" in refused(lambda: merge_tables(place / "all.csv", shards))
    else:
        assert merge_tables(place / "all.csv", shards).rows == 15
    assert not list(place.glob(".*")), "what the killed call has left is swept"


def test_what_0_1_left_of_a_killed_merge_is_swept_and_nothing_else(shards: list[Path], place: Path) -> None:
    for name, inside in ((".all.parquet.abc_1234.part", "table"), (".all.parquet.mine.part", "diary.txt")):
        (place / name).mkdir()
        (place / name / inside).touch()
    merge_tables(place / "all.parquet", shards)
    assert [path.name for path in place.glob(".*")] == [".all.parquet.mine.part"]


def test_weights_that_are_no_numbers_are_refused_by_the_clip_and_no_table_is_left(made: Path, tmp_path: Path) -> None:
    broken = small_encoder()
    broken.provenance = {"model": "mine"}
    with torch.no_grad():
        next(broken.parameters())[:] = float("nan")
    out = tmp_path / "out.parquet"
    said = refused(lambda: embed_folder(broken, made / "in", out, workers=0))
    assert said == "what mine makes of 0.wav from 0 s is not finite; its weights are broken"
    assert not out.exists()
    assert "is not finite" in refused(lambda: embed_file(broken, made / "in/0.wav"))


def test_an_encoder_that_is_broken_is_not_exported(tmp_path: Path) -> None:
    broken = small_encoder()
    with torch.no_grad():
        next(broken.parameters())[:] = float("nan")
    assert "not finite" in refused(lambda: export_onnx(broken, tmp_path / "out.onnx"))
    assert not list(tmp_path.iterdir())


def test_numbers_beyond_half_precision_are_refused_by_the_clip(made: Path, tmp_path: Path) -> None:
    class Loud(EmbeddingExtractor):
        def compute(self, spectrogram: torch.Tensor) -> torch.Tensor:
            return 1e6 * super().compute(spectrogram)

    said = refused(
        lambda: embed_folder(Loud(small_encoder()), made / "in", tmp_path / "o.parquet", dtype="float16", workers=0)
    )
    assert said.startswith("the numbers of 0.wav from 0 s reach ")
    assert said.endswith(", beyond float16; take dtype float32")


def test_a_last_clip_of_a_millisecond_is_no_row_unless_it_is_the_only_one(tmp_path: Path) -> None:
    noise, encoder = np.random.default_rng(0), small_encoder()
    for name, seconds in (("long.wav", 0.501), ("whole.wav", 1.0), ("tail.wav", 0.53), ("short.wav", 0.001)):
        soundfile.write(tmp_path / name, 0.1 * noise.standard_normal(round(16000 * seconds)), 16000)

    class Counts(Watcher):
        def forecast(self, forecast: object) -> None:
            self.left_out = forecast.left_out  # type: ignore[attr-defined]

    counts = Counts()
    embed_folder(encoder, tmp_path, tmp_path / "out.parquet", workers=0, watcher=counts)
    rows = read_embeddings(tmp_path / "out.parquet").groupby("file").size()
    assert dict(rows) == {"long.wav": 1, "short.wav": 1, "tail.wav": 2, "whole.wav": 2}
    assert counts.left_out == 1
    assert len(embed_file(encoder, tmp_path / "long.wav")) == 1
    assert len(embed_file(encoder, tmp_path / "long.wav", shortest=0)) == 2
    assert len(embed_file(encoder, tmp_path / "tail.wav", shortest=0.1)) == 1
    assert "shortest is 1, expected a share" in refused(lambda: embed_file(encoder, tmp_path / "long.wav", shortest=1))


class Stop(Watcher):
    """Stops a job, or does something else to it, once so many clips are done."""

    def __init__(self, clips: int, then: Callable[[], None]) -> None:
        self.clips, self.then = clips, then

    def progress(self, progress: Progress) -> None:
        if progress.clips >= self.clips:
            self.then()


def interrupt() -> None:
    raise KeyboardInterrupt


def embed(encoder: Encoder, folder: Path, out: Path, **how: object) -> table.Summary:
    return embed_folder(encoder, folder, out, **{"batch_size": 2, "workers": 0, **how})  # type: ignore[arg-type]


def test_a_disk_that_vanishes_stops_the_work_and_the_journal_stays(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "BATCHES", 1)
    folder, out = tmp_path / "in", tmp_path / "out.parquet"
    shutil.copytree(made / "in", folder)
    vanish = Stop(5, lambda: folder.exists() and folder.rename(tmp_path / "away"))  # type: ignore[func-returns-value]
    said = refused(lambda: embed(small_encoder(), folder, out, watcher=vanish))
    assert "others of its folder or list can be opened; check the disk" in said
    assert not out.exists()
    assert list((tmp_path / "out.parquet.journal").glob("0*.parquet"))
    (tmp_path / "away").rename(folder)
    assert list(embed(small_encoder(), folder, out).listed) == ["torn.wav"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.json", b"{"), ("plan.json", b"[]"), ("plan.json", b"[" * 99_999), ("plan.json", b"{}"),
        ("plan.json", b'{"settings": [], "recordings": {}}'), ("plan.json", b'{"settings": {}, "recordings": 3}'),
        ("000000.parquet", b"PAR1"), ("000000.parquet", b""),
    ],
)  # fmt: skip
def test_a_journal_that_is_damaged_is_refused_and_left_until_it_is_told_to_begin_anew(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    monkeypatch.setattr(parts, "BATCHES", 1)
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed(small_encoder(), made / "in", out, watcher=Stop(5, interrupt))
    (tmp_path / "out.parquet.journal" / name).write_bytes(content)
    assert "overwrite" in refused(lambda: embed(small_encoder(), made / "in", out))
    assert embed(small_encoder(), made / "in", out, overwrite=True).rows == 15


def test_a_part_of_a_journal_that_lost_rows_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "BATCHES", 1)
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed(small_encoder(), made / "in", out, watcher=Stop(5, interrupt))
    change(tmp_path / "out.parquet.journal/000000.parquet", lambda rows: rows.slice(1))
    assert "fewer rows, than it was written with" in refused(lambda: embed(small_encoder(), made / "in", out))


def test_a_journal_of_0_1_does_not_go_on(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BATCHES", 1)
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed(small_encoder(), made / "in", out, watcher=Stop(5, interrupt))
    path = tmp_path / "out.parquet.journal/plan.json"
    plan = json.loads(path.read_bytes())
    for later in ("shortest", "channel"):
        del plan["settings"][later]
    plan["recordings"] = {name: stamp[:2] for name, stamp in plan["recordings"].items()}
    path.write_text(json.dumps(plan))
    said = refused(lambda: embed(small_encoder(), made / "in", out))
    assert "out.parquet.journal is of an older oscine, which read recordings in another way; call it with over" in said
    embed(small_encoder(), made / "in", out, overwrite=True)
    assert not path.parent.exists()
