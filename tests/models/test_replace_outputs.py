"""Only what oscine wrote itself is replaced, in every door: files of other origin are named and stay."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from oscine.models.embed.embed import embed_recordings
from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.embed.merge import merge_tables
from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.models.hub.folder import load_pretrained, save_pretrained
from oscine.models.locks import lock_output
from oscine.models.replace_outputs import (
    ASIDE,
    MOVED,
    Replaced,
    check_ours,
    check_own,
    has_fields,
    is_empty,
    remove_empty,
    replacing,
)
from tests.forked import Bomb, ended, started

OWN = re.compile(r"scores\.json|probe/[^/]+\.json")
NAMES = ("one", "two", "absent")
LAST = "absent"  # of the new files


def put(path: Path, text: str = "precious") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with what is to be replaced, and something beside it."""
    for name in ("one", "two/three", "notes"):
        put(tmp_path / "run" / name)
    return tmp_path / "run"


def contents(folder: Path) -> dict[str, str]:
    """The text of every file, by its path."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


OLD = {"one": "precious", "two/three": "precious", "notes": "precious"}
NEW = {"one": "new", "absent": "new", "notes": "precious"}


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


@pytest.mark.parametrize("litter", [".DS_Store", "._a.wav", "Thumbs.db", "Desktop.ini", "@eaDir/a", ".nfs00000123", ""])
def test_a_folder_with_what_desktops_leave_is_empty(litter: str, tmp_path: Path) -> None:
    if litter:
        put(tmp_path / litter)
    assert is_empty(tmp_path)
    check_own([tmp_path], tmp_path, OWN, "a run")
    put(tmp_path / "deep/down/.hidden")
    assert not is_empty(tmp_path)


def test_a_link_is_a_file_and_is_not_followed(tmp_path: Path) -> None:
    mine = put(tmp_path / "mine/probe.json")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/probe").symlink_to(tmp_path / "mine")
    with pytest.raises(OscineError, match="run/probe is none of the files"):
        check_own([tmp_path / "run"], tmp_path / "run", OWN, "a run")
    with replacing(tmp_path / "run", ["probe", "new"], "new"):
        put(tmp_path / "run/new")
    assert mine.exists()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["new"]


def write_new(run: Path) -> None:
    put(run / "one", "new")
    put(run / LAST, "new")


def test_what_was_moved_aside_comes_back_where_the_new_ones_fail(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        with replacing(run, NAMES, LAST):
            assert not any((run / name).exists() for name in NAMES)
            put(run / "one", "new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert contents(run) == OLD
    assert f"{run} holds again what was there before" in caplog.text
    with replacing(run, NAMES, LAST):
        write_new(run)
    assert contents(run) == NEW


@pytest.mark.parametrize("stands", [False, True])
@pytest.mark.parametrize("moved", range(2))
def test_who_was_killed_while_moving_files_aside_finds_them_at_the_next_call(
    moved: int, stands: bool, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what stands, by its look, is the earlier files that were not moved yet."""
    with monkeypatch.context() as killed:
        killed.setattr(Path, "rename", stopping_after(moved, Path.rename))
        with pytest.raises(KeyboardInterrupt):
            Replaced(run, NAMES).take()
    Replaced(run, NAMES).recover(stands)
    assert contents(run) == OLD
    assert len(list(run.iterdir())) == 3


def test_who_was_killed_while_writing_the_new_files_has_the_earlier_ones_at_the_next_call(run: Path) -> None:
    for _ in range(2):
        Replaced(run, NAMES).take()
        write_new(run)
    Replaced(run, NAMES).recover(stands=False)
    assert contents(run) == OLD


@pytest.mark.parametrize("back", range(2))
def test_who_was_killed_while_putting_files_back_goes_on_at_the_next_call(
    back: int, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Replaced(run, NAMES).take()
    write_new(run)
    with monkeypatch.context() as killed:
        killed.setattr(Path, "rename", stopping_after(back, Path.rename))
        with pytest.raises(KeyboardInterrupt):
            Replaced(run, NAMES).put_back()
    Replaced(run, NAMES).put_back()
    assert contents(run) == OLD


def stopping_after(calls: int, work: Callable[..., Path]) -> Callable[..., Path]:
    done: list[Path] = []

    def stop(path: Path, to: Path) -> Path:
        if MOVES.search(str(to)):
            if len(done) == calls:
                raise KeyboardInterrupt
            done.append(path)
        return work(path, to)

    return stop


MOVES = re.compile(r"(one|two|three|absent)$")


def replaced_and_killed(run: Path, step: int) -> None:
    Bomb(step).arm()
    with replacing(run, NAMES, LAST):
        write_new(run)


def test_killed_before_any_change_on_the_disk_the_old_files_are_there_until_the_new_ones_are_whole(
    run: Path, tmp_path: Path
) -> None:
    found, ends = [], []
    for step in range(40):
        folder = Path(shutil.copytree(run, tmp_path / str(step)))
        process = started(replaced_and_killed, folder, step)
        ended(process)
        whole = (folder / LAST).exists()
        for _ in range(step % 2):  # killed once more, while the old ones are put back
            again = started(recovered_and_killed, folder, step % 5)
            ended(again)
        Replaced(folder, NAMES).recover((folder / LAST).exists())
        assert not list(folder.glob(f"{ASIDE}*/{MOVED}"))
        kept = {name: text for name, text in contents(folder).items() if not name.startswith(ASIDE)}
        assert kept == (NEW if whole else OLD)
        found.append(kept == NEW)
        ends.append(process.exitcode)
        if process.exitcode == 0:
            break
    assert ends[-1] == 0
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert len(ends) > 7
    assert found == sorted(found), "at one moment the new ones stand"
    assert found[-3:] == [True] * 3, "before the earlier ones are given up, too"


def recovered_and_killed(folder: Path, step: int) -> None:
    Bomb(step).arm()
    Replaced(folder, NAMES).recover((folder / LAST).exists())


def test_a_killed_call_is_not_recovered_while_another_replaces_the_same_files(run: Path) -> None:
    with lock_output(run, "choose another --name"):
        Replaced(run, NAMES).take()
        with pytest.raises(OscineError, match=r"is writing .*run; wait for it"):
            Replaced(run, NAMES).recover(stands=False)
    Replaced(run, NAMES).recover(stands=True)
    assert contents(run) == {"notes": "precious"}


def test_what_was_not_to_be_replaced_is_left_alone_when_the_rest_is_put_back(run: Path) -> None:
    Replaced(run, ["one"]).take()
    write_new(run)
    Replaced(run, NAMES).put_back()
    assert contents(run) == OLD | {"absent": "new"}


def test_files_that_cannot_be_deleted_are_never_mixed_with_those_of_the_next_call(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where another program has one open, or on NFS."""
    with monkeypatch.context() as stuck:
        stuck.setattr(shutil, "rmtree", lambda *_, **__: None)
        with replacing(run, NAMES, LAST):
            write_new(run)
        (left,) = run.glob(f"{ASIDE}*")
        assert contents(left) == {"one": "precious", "two/three": "precious"}
        with pytest.raises(KeyboardInterrupt), replacing(run, NAMES, LAST):
            raise KeyboardInterrupt
    assert {name: text for name, text in contents(run).items() if not name.startswith(ASIDE)} == NEW
    with replacing(run, NAMES, "one"):
        put(run / "one", "newest")
    assert contents(run) == {"one": "newest", "notes": "precious"}


def test_a_file_that_cannot_be_moved_is_named_and_nothing_is_replaced(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def locked(path: Path, to: Path) -> Path:
        if path == run / "two":
            raise PermissionError(13, "in use", str(path))
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", locked)
    said = r"run/two cannot be moved aside \(in use\), and nothing is replaced; close what has it open"
    with pytest.raises(OscineError, match=said), replacing(run, NAMES, LAST):
        write_new(run)
    assert contents(run) == OLD


def test_what_cannot_be_put_back_is_kept_and_the_error_says_where(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, made = Path.rename, Replaced(run, NAMES)
    made.take()
    aside = made.aside
    assert aside is not None

    def locked(path: Path, to: Path) -> Path:
        if path == aside / "two":
            raise PermissionError(13, "in use", str(path))
        return rename(path, to)

    with monkeypatch.context() as stuck:
        stuck.setattr(Path, "rename", locked)
        with pytest.raises(OscineError, match=f"what was there before is in {re.escape(str(aside))}; close what"):
            made.put_back()
    assert contents(aside)["two/three"] == "precious"
    made.put_back()
    assert contents(run) == OLD


@pytest.mark.parametrize("record", ["", "[]", "[" * 9999, '{"../notes": false}'])
def test_a_record_of_somebody_elses_deletes_nothing(record: str, run: Path) -> None:
    put(run / f"{ASIDE}x/moved.json", record)
    with pytest.raises(OscineError, match="what was there before is in"):
        Replaced(run, NAMES).put_back()
    assert contents(run).items() >= OLD.items()


def test_what_another_version_has_moved_comes_back_and_takes_nothing_else(tmp_path: Path) -> None:
    put(tmp_path / "run/mine"), put(tmp_path / "run/other", "precious")
    Replaced(tmp_path / "run", ["mine", "other", "new"]).take()
    assert not is_empty(tmp_path / "run")
    put(tmp_path / "run/new", "somebody's")
    assert Replaced(tmp_path / "run", ["mine"]).put_back()
    assert {path.name: path.read_text() for path in (tmp_path / "run").iterdir() if path.name != "mine"} == {
        "other": "precious", "new": "somebody's",
    }  # fmt: skip
    Replaced(tmp_path / "run", ["other"]).take()
    put(tmp_path / "run/other", "newer")
    with pytest.raises(OscineError, match="is in the way of an earlier one; move it away"):
        Replaced(tmp_path / "run", ["mine"]).put_back()


def test_a_folder_that_has_filled_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    put(tmp_path / "empty/.DS_Store", "")
    remove_empty(tmp_path / "empty")
    assert not (tmp_path / "empty").exists()
    put(tmp_path / "full/notes", "precious")
    with pytest.raises(OSError, match="not empty"):
        remove_empty(tmp_path / "full")
    assert (tmp_path / "full/notes").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
def test_a_pipe_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OscineError, match="is no file, and is not replaced"):
        check_ours(tmp_path / "pipe", partial(has_fields, fields=["mark"]))


# What oscine has written, and what looks like it


@pytest.fixture
def vectors(tmp_path: Path) -> EmbeddingExtractor:
    soundfile.write(put(tmp_path / "in/a.wav"), np.zeros(16_000), 16_000)
    torch.manual_seed(0)
    return EmbeddingExtractor(BAT(24, 1, 2, seconds=0.6).eval())


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.npz", "t.csv.errors.csv", "t.metadata.json"])
def test_a_table_replaces_tables_of_oscine_alone(name: str, vectors: EmbeddingExtractor, tmp_path: Path) -> None:
    out = tmp_path / (name if name.count(".") == 1 else "t.csv")
    embed_recordings(vectors, tmp_path / "in", out, workers=0)
    first = out.read_bytes()
    embed_recordings(vectors, tmp_path / "in", out, workers=0, overwrite=True)
    assert out.read_bytes() == first
    for content in ("precious", "file,label\na.wav,wren\n", "PAR1", "PK\x03\x04", '{"version": "1", "name": "oscine"}'):
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


def parquet_of_others(path: Path) -> None:
    """With the word in a column's name, and a key of the same name that says something else."""
    table = pa.table({"oscine passerines": [1, 2]})
    pq.write_table(table.replace_schema_metadata({"oscine": '{"version": "3"}'}), path)


def npz_of_others(path: Path) -> None:
    arrays = {"file": np.arange(3), "oscine": np.array('{"version": "3"}')}
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, array)


def csv_of_others(path: Path) -> None:
    """As OpenSoundscape writes its scores."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["file", "start_time", "end_time", "wren"], ["a.wav", 0.0, 5.0, 0.7]])


@pytest.mark.parametrize("write", [parquet_of_others, npz_of_others, csv_of_others])
def test_a_table_of_another_program_that_looks_alike_is_not_replaced(
    write: Callable[[Path], None], vectors: EmbeddingExtractor, tmp_path: Path
) -> None:
    out = tmp_path / f"t.{write.__name__.partition('_')[0]}"
    write(out)
    content = out.read_bytes()
    with pytest.raises(OscineError, match=f"{out.name} was not written by oscine, and is not replaced"):
        embed_recordings(vectors, tmp_path / "in", out, workers=0, overwrite=True)
    assert out.read_bytes() == content


def test_an_encoder_is_not_saved_over_another_librarys(tmp_path: Path) -> None:
    encoder = BAT(24, 1, 2, seconds=0.6)
    mine = put(tmp_path / "config.json", '{"model_type": "bird", "about": "no oscine_version"}')
    weights = put(tmp_path / "model.safetensors")
    with pytest.raises(OscineError, match=r"config\.json was not written by oscine, and is not replaced"):
        save_pretrained(encoder, tmp_path)
    assert "bird" in mine.read_text()
    mine.unlink()
    with pytest.raises(OscineError, match=r"model\.safetensors was not written by oscine, and is not replaced"):
        save_pretrained(encoder, tmp_path)
    assert weights.read_text() == "precious"
    weights.unlink()
    load_pretrained(save_pretrained(encoder, save_pretrained(encoder, tmp_path)))


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("at", ["model.safetensors", "config.json"])
def test_an_encoder_that_was_killed_while_it_was_saved_is_saved_again(
    earlier: bool, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if earlier:
        save_pretrained(BAT(24, 1, 2, seconds=1.2), tmp_path)
    replace, encoder = Path.replace, BAT(24, 1, 2, seconds=0.6).eval()

    def killed(part: Path, to: Path) -> Path:
        if to.name == at:
            raise KeyboardInterrupt
        return replace(part, to)

    with monkeypatch.context() as dying:
        dying.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            save_pretrained(encoder, tmp_path)
    with pytest.raises(OscineError):
        load_pretrained(tmp_path)
    saved = load_pretrained(save_pretrained(encoder, tmp_path))
    assert saved.config == encoder.config
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_a_disk_that_is_full_leaves_the_encoder_that_was_saved_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pretrained(BAT(24, 1, 2, seconds=0.6), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object, **__: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("oscine.models.hub.folder.save", full)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(BAT(24, 1, 2, seconds=1.2), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_empty_file_may_go_and_a_folder_may_not(tmp_path: Path) -> None:
    ours = partial(has_fields, fields=["mark"])
    check_ours(put(tmp_path / "empty", ""), ours)
    check_ours(tmp_path / "absent", ours)
    check_ours(put(tmp_path / "mine", json.dumps({"mark": 1})), ours)
    with pytest.raises(OscineError, match="is no file"):
        check_ours(tmp_path, ours)
    if os.geteuid():
        (tmp_path / "mine").chmod(0)
        with pytest.raises(OscineError, match="cannot be read"):
            check_ours(tmp_path / "mine", ours)
