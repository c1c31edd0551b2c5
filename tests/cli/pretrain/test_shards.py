"""`oscine shards` as it is called: what it says, what it writes, how it leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from oscine.cli import dispatch
from oscine.cli.pretrain.shards import main, parse_size
from oscine.models.errors import Misuse, OscineError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "in" / f"{number}.wav", np.zeros(16_000), 16_000)
    return tmp_path / "in"


def test_it_says_what_it_packed_and_leaves_with_0(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(folder), str(out), "--rate", "16000", "--workers", "0"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0].startswith(f"{out}: 3 recordings, 3 s, in 1 shard, ")
    assert said.out.splitlines()[1:] == []
    assert "pack recordings: 3/3" in said.err
    assert sorted(path.name for path in out.iterdir()) == ["000000.tar", "index.json", "index.parquet"]


def test_shards_are_checked_and_a_damaged_one_ends_with_its_name_and_1(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    main([str(folder), str(out), "--rate", "16000", "--workers", "0"])
    capsys.readouterr()
    assert dispatch(["shards", "--check", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}: 1 shard is as it was packed\n"
    assert "check shards: 1/1" in said.err
    with (out / "000000.tar").open("r+b") as file:
        file.seek(2000)
        byte = file.read(1)[0]
        file.seek(2000)
        file.write(bytes([byte ^ 1]))
    assert dispatch(["shards", str(out), "--check"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].endswith(f"{out}: 1 of 1 shards: 000000.tar is damaged; copy them again")


@pytest.mark.parametrize("wrong", [["--check"], ["--check", "a", "b"], ["--check", "--rate"]])
def test_what_is_to_be_checked_is_one_folder(wrong: list[str]) -> None:
    with pytest.raises(Misuse, match="oscine shards --check OUT"):
        main(wrong)


def test_bad_recordings_are_listed_and_the_exit_code_says_so(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.wav").touch()
    arguments = [str(folder), str(tmp_path / "out"), "--rate", "8000", "--format", "ogg", "--workers", "0"]
    assert main(arguments) == 3
    assert (tmp_path / "out" / "errors.csv").read_text().splitlines()[1].startswith("bad.wav,is empty")
    assert main(arguments) == 3, "called again, it has nothing to do and says the same"


def test_a_folder_with_other_content_is_left_alone(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=r"holds other files, such as 0\.wav"):
        main([str(folder), str(folder), "--rate", "16000"])
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize(
    "wrong", [[], ["--rate", "16000", "--format", "mp3"], ["--rate", "16000", "--size", "big"], ["--rate", "x"]]
)
def test_a_wrong_call_is_said_in_one_line(wrong: list[str], folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Misuse) as raised:
        main([str(folder), str(tmp_path / "out"), *wrong])
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("text", "size"), [("1GB", 10**9), ("1.5 MB", 1_500_000), ("60kB", 60_000)])
def test_sizes_are_read_as_they_are_written(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_its_help_says_what_it_writes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert "webdataset's layout" in said
    assert "oscine shards --check OUT" in said
    with pytest.raises(SystemExit):
        main(["--check", "--help"])
    assert capsys.readouterr().out == said
