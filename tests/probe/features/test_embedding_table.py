"""A table of embeddings gives a probe the features that encoding would have given, or says why it cannot."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.models.embed.embed import embed_folder
from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.probe.features.embedding_table import read_embedded, read_vectors
from oscine.probe.features.encoding import encode_task
from oscine.probe.fit.judge import judge
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.task import Task, read_task
from tests.embedding_tables import write_embeddings, write_labels

ALL = Needs(layers=None, parts=("cls", "mean", "pooled"))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return BAT(dim=24, depth=3, heads=2, seconds=0.5).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of one name in two folders, longer than a clip and shorter."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "sub").mkdir()
    noise = np.random.default_rng(0)
    for name, seconds in (("a.wav", 1.3), ("b.wav", 0.5), ("c.wav", 0.3), ("sub/a.wav", 2), ("sub/d.wav", 0.7)):
        soundfile.write(folder / name, noise.uniform(-0.4, 0.4, int(seconds * 16_000)), 16_000)
    return folder


@pytest.fixture(scope="module")
def task(folder: Path) -> Task:
    """Not in the table's order; some rows are parts of recordings, some of which go on after their clip."""
    lines = [
        "sub/d.wav,x,0,,",
        "a.wav,y,0,,",
        "sub/a.wav,x,1,1.5,2",
        "c.wav,y,1,,",
        "sub/a.wav,y,1,0.5,1.7",
        "b.wav,x,1,,",
    ]
    (folder / "labels.csv").write_text("\n".join(["path,label,fold,start,end", *lines]))
    return read_task(folder / "labels.csv")


@pytest.fixture(scope="module")
def table(encoder: Encoder, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tables") / "all.parquet"
    embed_folder(EmbeddingExtractor(encoder, [0, 1, 2], ["pooled", "cls", "mean"]), folder, out, batch_size=4)
    return out


@pytest.mark.parametrize(
    "needs", [ALL, Needs([-1], ("cls",)), Needs([2, 0], ("mean",)), Needs([-1], ("pooled",)), Needs(None, ("cls",))]
)
def test_a_table_has_the_features_that_encoding_gives(encoder: Encoder, task: Task, table: Path, needs: Needs) -> None:
    found, encoded = read_embedded(table, encoder, task, needs), encode_task(encoder, task, needs)
    assert [part.numel() for part in found] == [part.numel() for part in encoded]
    for mine, other in zip(found, encoded, strict=True):
        if mine.numel():
            torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_a_table_in_half_precision_will_do(encoder: Encoder, folder: Path, task: Task, tmp_path: Path) -> None:
    embed_folder(encoder, folder, tmp_path / "half.parquet", dtype="float16")
    found = read_embedded(tmp_path / "half.parquet", encoder, task, Needs([-1], ("pooled",)))
    expected = encode_task(encoder, task, Needs([-1], ("pooled",)))
    torch.testing.assert_close(found.pooled, expected.pooled, rtol=2**-11, atol=1e-5)


def test_a_table_of_a_folder_below_is_found_by_its_own_names(
    encoder: Encoder, folder: Path, table: Path, tmp_path: Path, task: Task
) -> None:
    below = dataclasses.replace(task, rows=task.rows[task.rows["path"].str.contains("sub")].reset_index(drop=True))
    embed_folder(encoder, folder / "sub", tmp_path / "sub.parquet")
    needs = Needs([-1], ("pooled",))
    own, whole = (read_embedded(made, encoder, below, needs) for made in (tmp_path / "sub.parquet", table))
    torch.testing.assert_close(own.pooled, whole.pooled, atol=1e-5, rtol=1e-5)


def test_a_probe_is_fitted_on_a_table(encoder: Encoder, task: Task, table: Path) -> None:
    settings = FitSettings(steps=5, warmup=1, batch_size=2)
    needs = LinearProbe(encoder, 2, pool="mean").needs
    judgement = judge(
        lambda: LinearProbe(encoder, 2, "mean"), read_embedded(table, encoder, task, needs), task, settings
    )
    assert [logits.shape for logits in judgement.logits] == [(2, 2), (4, 2)]


@pytest.mark.parametrize(
    ("pools", "layers", "needs", "remedy"),
    [
        (["pooled"], None, Needs([-1], ("cls",)), r"1 of the 1 columns .*cls of layer 2; .*--pools=cls --layers=2 "),
        (
            ["cls"],
            [2],
            Needs(None, ("cls", "mean")),
            r"5 of the 6 .*cls of layer 0; .*--pools=cls,mean --layers=0,1,2 ",
        ),
        (["cls"], [2], Needs([-1], ("pooled",)), r"pooled of layer 2; oscine embed .*--pools=pooled writes them"),
    ],
)
def test_columns_that_lack_are_named_with_the_call_that_writes_them(
    encoder: Encoder, folder: Path, task: Task, tmp_path: Path, pools: list[str], layers: Any, needs: Needs, remedy: str
) -> None:
    embed_folder(EmbeddingExtractor(encoder, layers, pools), folder, tmp_path / "few.parquet")
    with pytest.raises(OscineError, match=remedy):
        read_embedded(tmp_path / "few.parquet", encoder, task, needs)


@pytest.mark.parametrize("part", ["patches", "frames", "bands"])
def test_a_probe_that_reads_patches_is_told_so(encoder: Encoder, task: Task, table: Path, part: str) -> None:
    with pytest.raises(
        OscineError, match=f"this probe reads {part} of the encoder, a table .* has cls, mean, pooled at most"
    ):
        read_embedded(table, encoder, task, Needs([-1], ("cls", part)))


def test_a_row_without_an_embedding_is_named(encoder: Encoder, folder: Path, task: Task, table: Path) -> None:
    soundfile.write(folder / "sub/new.wav", np.zeros(8000), 16_000)
    rows = task.rows.assign(path=[*task.rows["path"][:-1], str(folder / "sub/new.wav")])
    with pytest.raises(OscineError, match=r"no embedding of 1 of 6 rows, such as row 7 \(sub/new\.wav from 0 s\)"):
        read_embedded(table, encoder, dataclasses.replace(task, rows=rows), ALL)


def test_a_row_that_begins_within_a_clip_has_no_embedding(encoder: Encoder, task: Task, table: Path) -> None:
    rows = task.rows.assign(start=task.rows["start"] + 0.1)
    with pytest.raises(OscineError, match=r"no embedding of 2 of 6 rows, such as row 4 \(sub/a\.wav from 1\.6 s\)"):
        read_embedded(table, encoder, dataclasses.replace(task, rows=rows), ALL)


def test_an_embedding_must_not_hear_what_follows_the_row(encoder: Encoder, task: Task, table: Path) -> None:
    rows = task.rows.assign(end=pd.Series([np.nan, np.nan, 2, np.nan, 0.8, np.nan]))
    with pytest.raises(OscineError, match=r"row 6 \(sub/a\.wav from 0\.5 s\) ends at 0\.8 s, its embedding at 1 s"):
        read_embedded(table, encoder, dataclasses.replace(task, rows=rows), ALL)


def test_another_encoders_table_is_refused(encoder: Encoder, task: Task, table: Path) -> None:
    torch.manual_seed(1)
    weights, config = BAT(**encoder.config), BAT(**encoder.config | {"hop": 80})
    config.load_state_dict(encoder.state_dict())
    for other, what in ((weights, "weights"), (config, "config")):
        with pytest.raises(
            OscineError, match=f"was made by an encoder without a name, of another {what} than this encoder"
        ):
            read_embedded(table, other, task, ALL)


def test_what_is_no_table_of_embeddings_is_refused(encoder: Encoder, task: Task, tmp_path: Path) -> None:
    pd.DataFrame({"file": ["a.wav"]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(OscineError, match="was not written by oscine embed"):
        read_embedded(tmp_path / "other.parquet", encoder, task, ALL)


def test_vectors_are_those_that_a_probe_is_given_and_need_no_encoder(encoder: Encoder, task: Task, table: Path) -> None:
    features = read_embedded(table, encoder, task, ALL)
    np.testing.assert_array_equal(read_vectors(table, task.rows), features.pooled.numpy())
    np.testing.assert_array_equal(read_vectors(table, task.rows, "cls_1"), features.cls[1].numpy())


def test_vectors_of_a_column_that_is_not_there_are_refused(task: Task, table: Path) -> None:
    with pytest.raises(OscineError, match=r"all.parquet has no column 'cls_9'; name one of embedding, "):
        read_vectors(table, task.rows, "cls_9")


def test_a_table_of_several_columns_without_pooled_ones_asks_for_one(tmp_path: Path) -> None:
    files = write_labels(tmp_path / "labels.csv", ["a", "b"], [1, 2])
    vectors = np.arange(6.0).reshape(2, 3)
    two = write_embeddings(tmp_path / "two.parquet", files, {"cls_1": vectors, "cls_2": vectors})
    rows = read_task(tmp_path / "labels.csv").rows
    with pytest.raises(OscineError, match=r"two.parquet has several columns of vectors; name one of cls_1, cls_2"):
        read_vectors(two, rows)
    one = write_embeddings(tmp_path / "one.parquet", files, {"cls_1": vectors})
    np.testing.assert_array_equal(read_vectors(one, rows), vectors)


def test_vectors_that_are_not_finite_are_refused_by_the_name_of_their_clip(tmp_path: Path) -> None:
    files = write_labels(tmp_path / "labels.csv", ["a", "b"], [1, 2])
    table = write_embeddings(tmp_path / "bad.parquet", files, {"embedding": np.array([[1.0, 2], [np.nan, 3]])})
    rows = read_task(tmp_path / "labels.csv").rows
    with pytest.raises(
        OscineError, match=r"bad.parquet holds .* not finite: embedding of 001.wav from 0 s; make it anew"
    ):
        read_vectors(table, rows)
    assert read_vectors(table, rows.iloc[:1]).shape == (1, 2)
