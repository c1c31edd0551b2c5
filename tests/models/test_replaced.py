"""Only what oscine wrote itself is replaced, in every door: files of other origin are named and stay."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from oscine.models.bat import BAT
from oscine.models.embed import embed_recordings
from oscine.models.errors import OscineError
from oscine.models.hub import load_pretrained, save_pretrained
from oscine.models.merge import merge_tables
from oscine.models.replaced import Aside, check_ours, check_own, moved_aside
from oscine.models.vectors import Vectors

OWN = re.compile(r"scores\.json|probe/[^/]+\.json")


def put(path: Path, text: str = "precious") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_of_another_name_is_found_at_any_depth(tmp_path: Path) -> None:
    put(tmp_path / "scores.json")
    put(tmp_path / "probe/probe.json")
    put(tmp_path / "probe/.DS_Store")
    check_own([tmp_path], tmp_path, OWN, "a run")
    for name in ("thesis.txt", "probe/thesis.txt", "probe/deep/down/probe.json"):
        mine = put(tmp_path / name)
        with pytest.raises(OscineError, match=f"{name} is none of the files that a run writes"):
            check_own([tmp_path], tmp_path, OWN, "a run")
        mine.unlink()


def test_a_link_is_a_file_and_is_not_followed(tmp_path: Path) -> None:
    mine = put(tmp_path / "mine/probe.json")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/probe").symlink_to(tmp_path / "mine")
    with pytest.raises(OscineError, match="run/probe is none of the files"):
        check_own([tmp_path / "run"], tmp_path / "run", OWN, "a run")
    Aside(tmp_path / "aside").take([tmp_path / "run/probe"])
    Aside(tmp_path / "aside").discard()
    assert mine.exists()


def test_what_was_moved_aside_comes_back_where_the_new_ones_fail(tmp_path: Path) -> None:
    old = [put(tmp_path / "one"), put(tmp_path / "two/three")]
    paths = [tmp_path / "one", tmp_path / "two", tmp_path / "absent"]

    def fail() -> None:
        with moved_aside(paths, tmp_path / ".aside"):
            assert not any(path.exists() for path in old)
            put(tmp_path / "one", "new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.read_text() for path in old] == ["precious", "precious"]
    with moved_aside(paths, tmp_path / ".aside"):
        put(tmp_path / "one", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.npz", "t.csv.errors.csv", "t.metadata.json"])
def test_a_table_replaces_tables_of_oscine_alone(name: str, tmp_path: Path) -> None:
    soundfile.write(put(tmp_path / "in/a.wav"), np.zeros(16_000), 16_000)
    torch.manual_seed(0)
    vectors = Vectors(BAT(24, 1, 2, seconds=0.6).eval())
    out = tmp_path / (name if name.count(".") == 1 else "t.csv")
    embed_recordings(vectors, tmp_path / "in", out, workers=0)
    first = out.read_bytes()
    embed_recordings(vectors, tmp_path / "in", out, workers=0, overwrite=True)
    assert out.read_bytes() == first
    for content in ("precious", "file,label\na.wav,wren\n", "PAR1", "PK\x03\x04"):
        mine = put(tmp_path / name, content)
        for call in (
            lambda: embed_recordings(vectors, tmp_path / "in", out, workers=0, overwrite=True),
            lambda: merge_tables(out, [tmp_path / "absent.parquet"], overwrite=True),
        ):
            with pytest.raises(
                OscineError, match=f"{name} was not written by oscine, and is not replaced; move it away"
            ):
                call()
        assert mine.read_text() == content


def test_an_encoder_is_not_saved_over_another_librarys(tmp_path: Path) -> None:
    encoder = BAT(24, 1, 2, seconds=0.6)
    mine = put(tmp_path / "config.json", '{"model_type": "bird", "architectures": ["Wren"]}')
    weights = put(tmp_path / "model.safetensors")
    with pytest.raises(OscineError, match=r"config\.json was not written by oscine, and is not replaced"):
        save_pretrained(encoder, tmp_path)
    assert "bird" in mine.read_text()
    assert weights.read_text() == "precious"
    mine.unlink()
    load_pretrained(save_pretrained(encoder, save_pretrained(encoder, tmp_path)))


def test_an_empty_file_may_go_and_a_folder_may_not(tmp_path: Path) -> None:
    put(tmp_path / "empty", "")
    check_ours(tmp_path / "empty", b"mark")
    check_ours(tmp_path / "absent", b"mark")
    with pytest.raises(OscineError, match="cannot be read"):
        check_ours(tmp_path, b"mark")
