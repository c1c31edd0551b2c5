"""What is read from within a tar or a gzip file is what lies there, wherever reading begins."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from oscine.models.audio import gzip_index
from oscine.models.audio import tar as tars
from oscine.models.audio.gzip_index import GzipIndexer, GzipReader
from oscine.models.audio.load import AudioError, load_audio
from oscine.models.audio.tar import Tars
from oscine.models.errors import OscineError
from oscine.models.locks import lock_exclusive
from tests.birdset_layout import RATE, ogg
from tests.forked import PATIENCE, started

SIZE = 2**20


def skewed(values: int) -> bytes:
    """Bytes of which small ones are more frequent: literals with codes of several lengths, and hardly a repetition."""
    rng = np.random.default_rng(values)
    return (values * rng.random(SIZE) ** 2).astype(np.uint8).tobytes()


def words() -> bytes:
    rng = random.Random(0)
    known = [rng.randbytes(rng.randrange(2, 9)).hex().encode() for _ in range(2000)]
    return b" ".join(rng.choice(known) for _ in range(SIZE // 4))


def deflated(content: bytes, level: int = 9, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    deflater = zlib.compressobj(level, wbits=31, strategy=strategy)
    return deflater.compress(content) + deflater.flush()


NOISE = np.random.default_rng(0).bytes(SIZE)
MIXED = skewed(255)[: SIZE // 2] + NOISE[: SIZE // 4] + skewed(255)[SIZE // 2 :] + NOISE[: SIZE // 2]
FILES = {
    "literals": (skewed(200), deflated(skewed(200)), True),
    "words": (words(), deflated(words()), True),
    "stored": (2 * NOISE, deflated(2 * NOISE, 0), True),
    "stored and dynamic in turn": (MIXED, deflated(MIXED, 6), True),
    "fixed codes alone": (skewed(90), deflated(skewed(90), strategy=zlib.Z_FIXED), False),
    "zeros": (bytes(SIZE), deflated(bytes(SIZE)), False),
    "two in a row, then zeros": (2 * skewed(200), 2 * deflated(skewed(200)) + bytes(512), True),
    "one of a byte": (b"x", deflated(b"x"), False),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_gzip_files_content_is_the_same_from_any_point(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content, packed, found = FILES[kind]
    monkeypatch.setattr(gzip_index, "SPACING", 2**16)
    monkeypatch.setattr(gzip_index, "PIECE", 2**17)
    windows = io.BytesIO()
    inflated = GzipIndexer(io.BytesIO(packed), windows.write)
    assert io.BufferedReader(inflated).read() == content
    assert (inflated.windows > 1) == found
    points = inflated.array()
    rng = random.Random(1)
    for at in [0, *points[:, 1].tolist(), *(rng.randrange(len(content)) for _ in range(8))]:
        length = min(len(content) - at, rng.randrange(1, 2**18))
        inflating = GzipReader(io.BytesIO(packed), points, windows, at + length)
        inflating.seek(at)
        assert io.BufferedReader(inflating).read(length) == content[at : at + length]


def test_points_begin_at_every_bit_of_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_index, "SPACING", 2**16)
    monkeypatch.setattr(gzip_index, "PIECE", 2**17)
    inflated = GzipIndexer(io.BytesIO(deflated(4 * MIXED)), len)
    io.BufferedReader(inflated).read()
    assert {bit % 8 for bit, _, _, _ in inflated.points} == set(range(8))


def test_of_a_gzip_file_that_ends_early_what_is_there_is_read() -> None:
    for cut, whole in ((1, True), (-9, False)):
        inflated = GzipIndexer(io.BytesIO(deflated(NOISE)[: cut if cut < 0 else None]), len)
        assert NOISE.startswith(io.BufferedReader(inflated).read())
        assert inflated.whole == whole


def write_tar(path: Path, members: dict[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(f"a/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


OGGS = {f"XC{seed}.ogg": ogg(3 + seed, seed, (0, 2)) for seed in range(6)}


@pytest.fixture(params=["t.tar", "t.tar.gz"])
def tar(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(gzip_index, "SPACING", 2**16)
    return write_tar(
        tmp_path / request.param, OGGS | {"broken.ogg": b"no audio"}, "w:gz" if ".gz" in request.param else "w"
    )


def test_recordings_in_a_tar_sound_as_those_in_files(tar: Path, tmp_path: Path) -> None:
    tars = Tars([tar])
    assert tars.names.to_pylist() == [*OGGS, "broken.ogg"]
    assert np.array_equal(tars.seconds, [3, 4, 5, 6, 7, 8, np.nan], equal_nan=True)
    for number, (name, content) in enumerate(OGGS.items()):
        (tmp_path / name).write_bytes(content)
        for rate, start, seconds in ((RATE, 0.0, 3.0), (16_000, 1.25, 1.0), (RATE, 2.5, 60.0)):
            heard = tars.load(number, rate, start, seconds)
            assert torch.equal(heard, load_audio(tmp_path / name, rate, start, seconds))
    with pytest.raises(AudioError, match=r"broken\.ogg: is no audio"):
        tars.load(6, RATE, 0, 1)


def test_the_index_is_made_once_and_anew_for_another_file(tar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} is read again")

    Tars([tar])
    with monkeypatch.context() as patch:
        patch.setattr("oscine.models.audio.tar._scan", refuse)
        assert len(Tars([tar]).names) == 7
    write_tar(tar, {"other.ogg": OGGS["XC2.ogg"]}, "w:gz" if tar.suffix == ".gz" else "w")
    tars = Tars([tar])
    assert tars.names.to_pylist() == ["other.ogg"]
    assert tars.seconds.tolist() == [5.0]


READER = """
import sys, time
from pathlib import Path
from oscine.models.audio import tar as tars

scan = tars._scan
def noted(path, *windows):
    with open(sys.argv[2], "a") as scans:
        scans.write("one\\n")
    time.sleep(1)
    return scan(path, *windows)
tars._scan = noted
print(len(tars.Tars([Path(sys.argv[1])]).names))
"""


def test_of_several_processes_one_reads_the_tar(tar: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", READER, str(tar), str(tmp_path / "scans")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["7\n"] * 3
    assert (tmp_path / "scans").read_text() == "one\n"


def test_where_the_folder_cannot_be_written_the_index_goes_to_the_cache(tar: Path, tmp_path: Path) -> None:
    (tar.parent / ".index").touch()  # a file in the way: root may write everywhere
    assert len(Tars([tar]).names) == 7
    assert list((tmp_path / "cache").glob(f"oscine/*/{tar.name}.parquet"))


def test_a_lock_that_cannot_be_made_is_one_line(tar: Path) -> None:
    (tar.parent / ".index" / f".{tar.name}.lock").mkdir(parents=True)  # a folder in the way: root may write everywhere
    with pytest.raises(OscineError, match=r"\.index could not be written \(.*\); make room for indices"):
        Tars([tar])


@pytest.mark.parametrize("waiting", [False, True])
def test_whoever_is_stopped_while_a_tar_is_indexed_ends_at_once_and_leaves_nothing(
    tar: Path, tmp_path: Path, waiting: bool
) -> None:
    write_tar(tar, {"a.ogg": OGGS["XC0.ogg"], "noise": 16 * NOISE, **OGGS}, "w:gz" if tar.suffix == ".gz" else "w")
    index, begun = tar.parent / ".index", tmp_path / "begun"
    lock = index / f".{tar.name}.lock"

    def be_slow() -> None:  # a minute, if it is not stopped
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line has it
        read = tars.Stoppable.readinto
        if waiting:
            begun.touch()

        def read_slowly(file: tars.Stoppable, buffer: Any) -> int:
            begun.touch()
            time.sleep(0.5)
            return read(file, memoryview(buffer)[: 2**17])

        tars.Stoppable.readinto = read_slowly  # type: ignore[method-assign]
        try:
            Tars([tar, tar])
        except KeyboardInterrupt:
            os._exit(130)

    index.mkdir()
    with lock_exclusive(lock, "indexing", "wait") if waiting else nullcontext():
        process = started(be_slow)
        while not begun.exists():
            time.sleep(0.01)
        time.sleep(0.5)
        process.terminate()
        since = time.monotonic()
        process.join(PATIENCE)
        assert process.exitcode == 130
        assert time.monotonic() - since < 3
    assert not list(index.iterdir())
    assert len(Tars([tar]).names) == 7


def test_of_a_tar_that_is_cut_short_what_comes_before_is_read_and_the_rest_listed(
    tar: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.truncate(tar, tar.stat().st_size * 2 // 3)
    for _ in range(2):  # also of an index that is there
        tars = Tars([tar])
        assert tars.cut == [tar]
        assert tars.names.to_pylist() == [*OGGS][:5]
        assert np.array_equal(tars.seconds, [3, 4, 5, 6, np.nan], equal_nan=True)
        assert str(tars.unread()[4]).endswith("XC4.ogg: lies where its tar file is cut short; download that again")
        assert len(tars.load(3, RATE, 0, 6)) == 6 * RATE
    assert caplog.text.count("is cut short; what comes before is used; download it again for the rest") == 1
    os.truncate(tar, 15)
    with pytest.raises(OscineError, match=rf"{tar.name} is no whole tar file .*; download it again"):
        Tars([tar])


def test_a_tar_that_changes_under_its_reader_is_an_error_that_names_the_recording(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "t.tar.gz", OGGS, "w:gz")
    tars = Tars([path])
    path.write_bytes(gzip.compress(b"short"))
    with pytest.raises(AudioError, match=r"XC3\.ogg: cannot be inflated"):
        tars.load(3, RATE, 0, 1)


def headed(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


WAV = io.BytesIO()
soundfile.write(WAV, np.zeros(8), RATE, format="WAV")
ZEROS = 2**29


@pytest.mark.parametrize("header", [b"", WAV.getvalue()[:40] + ZEROS.to_bytes(4, "little")])
def test_a_tar_of_half_a_gigabyte_of_zeros_takes_little_memory(header: bytes, tmp_path: Path) -> None:
    size = len(header) + ZEROS
    with gzip.open(path := tmp_path / "t.tar.gz", "wb", 1) as file:
        file.write(headed("a.wav", size) + header)
        for _ in range(ZEROS // 2**24):
            file.write(bytes(2**24))
        file.write(bytes(-size % 512 + 1024))
    tracemalloc.start()
    tars = Tars([path])
    if header:
        assert tars.seconds.tolist() == [ZEROS / 2 / RATE]
        assert len(tars.load(0, RATE, 5.0, 1.0)) == RATE
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


SPARSE_SOUND = np.concatenate([np.ones(5000), np.zeros(40_000), np.ones(300), np.zeros(30_000), np.ones(7000)]) / 4
FORMS = {  # how GNU tar writes that a file is sparse
    "old": ["--format=gnu"], "0.0": ["--format=posix", "--sparse-version=0.0"],
    "0.1": ["--format=posix", "--sparse-version=0.1"], "1.0": ["--format=posix", "--sparse-version=1.0"],
}  # fmt: skip


def paxed(texts: dict[str, str]) -> bytes:
    """A PAX header that says so."""
    rows = b""
    for name, text in texts.items():
        row = f" {name}={text}\n".encode()
        length = next(n for n in range(len(row), len(row) + 9) if len(str(n)) + len(row) == n)
        rows += str(length).encode() + row
    return headed("x", len(rows), tarfile.XHDTYPE) + rows.ljust(-(-len(rows) // 512) * 512, b"\0")


def sparse(form: str, content: bytes, runs: list[tuple[int, int]], size: int | None = None) -> bytes:
    """A tar's part that holds a sparse file, as GNU tar writes it."""
    stored, size = b"".join(content[start : start + count] for start, count in runs), size or len(content)
    numbers = [number for run in runs for number in run]
    if form == "old":
        block = bytearray(headed("a.wav", len(stored), tarfile.GNUTYPE_SPARSE))
        fields = b"".join(b"%011o\0" % number for number in numbers)
        block[386 : 386 + 96], more = fields[:96].ljust(96, b"\0"), fields[96:]
        block[482], block[483:495] = bool(more), b"%011o\0" % size
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        blocks = [more[at : at + 504] for at in range(0, len(more), 504)]
        head = bytes(block) + b"".join(
            part.ljust(504, b"\0") + bytes([number < len(blocks)]) + bytes(7) for number, part in enumerate(blocks, 1)
        )
    else:
        said = {"GNU.sparse.size": str(size), "GNU.sparse.name": "a.wav"}
        if form == "0.0":
            pairs = b""
            for start, count in runs:
                for name, number in (("offset", start), ("numbytes", count)):
                    one = paxed({f"GNU.sparse.{name}": str(number)})[512:]
                    pairs += one.rstrip(b"\0")
            pairs += paxed(said)[512:].rstrip(b"\0")
            head = headed("x", len(pairs), tarfile.XHDTYPE) + pairs.ljust(-(-len(pairs) // 512) * 512, b"\0")
        elif form == "0.1":
            head = paxed(said | {"GNU.sparse.map": ",".join(map(str, numbers))})
        else:
            head = paxed({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(size)} | said)
            text = "".join(f"{number}\n" for number in [len(runs), *numbers]).encode()
            stored = text.ljust(-(-len(text) // 512) * 512, b"\0") + stored
        head += headed("GNUSparseFile.0/a.wav", len(stored))
    return head + stored.ljust(-(-len(stored) // 512) * 512, b"\0")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_sparse_file_is_read_with_its_zeros(form: str, zipped: bool, tmp_path: Path) -> None:
    soundfile.write(path := tmp_path / "a.wav", SPARSE_SOUND, RATE)
    content, other = path.read_bytes(), WAV.getvalue()
    kept = [(0, 10_240), *((start, 64) for start in range(90_000, 90_640, 128)), (150_000, len(content) - 150_000)]
    packed = sparse(form, content, kept) + headed("z.wav", len(other)) + other.ljust(512, b"\0") + bytes(1024)
    (tar := tmp_path / ("t.tar.gz" if zipped else "t.tar")).write_bytes(gzip.compress(packed) if zipped else packed)
    expected = bytearray(len(content))
    for start, count in kept:
        expected[start : start + count] = content[start : start + count]
    path.write_bytes(expected)
    for _ in range(2):  # also by an index that is there
        tars = Tars([tar])
        assert tars.names.to_pylist() == ["a.wav", "z.wav"]
        assert tars.unread() == {}
        assert tars.seconds.tolist() == [len(SPARSE_SOUND) / RATE, 8 / RATE]
        for start, seconds in ((0.0, 60.0), (1.4, 0.1), (2.5, 0.05)):
            assert torch.equal(tars.load(0, RATE, start, seconds), load_audio(path, RATE, start, seconds))
        assert len(tars.load(1, RATE, 0.0, 1.0)) == 8


@pytest.mark.parametrize("form", FORMS)
def test_a_sparse_file_of_gnu_tar_is_read(form: str, tmp_path: Path) -> None:
    program = shutil.which("tar")
    if not program or b"GNU" not in subprocess.run([program, "--version"], capture_output=True, check=True).stdout:
        pytest.skip("needs GNU tar")
    soundfile.write(path := tmp_path / "a.wav", SPARSE_SOUND, RATE)
    content = path.read_bytes()
    with path.open("wb") as file:  # with holes where there are pages of zeros
        for at in range(0, len(content), 4096):
            if any(content[at : at + 4096]):
                file.seek(at)
                file.write(content[at : at + 4096])
    (tmp_path / "none.wav").touch()
    os.truncate(tmp_path / "none.wav", 2**20)  # a hole alone
    names = ["a.wav", "none.wav"]
    subprocess.run([program, "-cSf", "t.tar", *FORMS[form], *names], cwd=tmp_path, check=True)
    tars = Tars([tmp_path / "t.tar"])
    assert tars.names.to_pylist() == names
    assert (tmp_path / "t.tar").stat().st_size < len(content)
    assert torch.equal(tars.load(0, RATE, 0.0, 60.0), load_audio(path, RATE))
    assert "is no audio" in str(tars.unread()[1])


@pytest.mark.parametrize("form", FORMS)
def test_a_sparse_file_whose_map_cannot_be_is_listed_and_the_others_are_read(form: str, tmp_path: Path) -> None:
    sound = WAV.getvalue()
    others = headed("z.wav", len(sound)) + sound.ljust(512, b"\0") + bytes(1024)
    hostile = [
        sparse(form, sound, [(20, 20), (0, 20)]), sparse(form, sound, [(0, 20), (10, 20)]),
        sparse(form, sound, [(0, 40)], size=30), sparse(form, sound, [(0, 40)], size=2**32),
    ][: 3 if form == "old" else 4]  # fmt: skip
    hostile[-1:] = [] if form == "old" else [sparse(form, sound, [(0, 40)], size=2**62)]
    for content in hostile:
        (path := tmp_path / "t.tar").write_bytes(content + others)
        tars = Tars([path])
        assert tars.names.to_pylist() == ["a.wav", "z.wav"]
        assert "is stored without its zeros (a sparse file), in a way that is not read" in str(tars.unread()[0])
        assert tars.seconds[1] == 8 / RATE


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}, b"1\n0\n9\n"),
        (
            {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"},
            b"1\n0\n9\n".ljust(511, b"\0"),
        ),
        ({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}, b"60000\n" + bytes(2**22)),
        ({"GNU.sparse.map": "0,\u00b2", "GNU.sparse.size": "9"}, b"x"),
        ({"GNU.sparse.map": "0,1", "GNU.sparse.size": "\u00b2"}, b"x"),
    ],
    ids=["10 bytes", "511 bytes", "many lines", "map", "size"],
)
def test_a_hostile_map_of_a_sparse_file_costs_neither_the_others_nor_time(
    said: dict[str, str], stored: bytes, zipped: bool, tmp_path: Path
) -> None:
    sound = WAV.getvalue()
    content = paxed(said) + headed("a.wav", len(stored)) + stored.ljust(-(-len(stored) // 512) * 512, b"\0")
    content += headed("z.wav", len(sound)) + sound.ljust(512, b"\0") + bytes(1024)
    (path := tmp_path / ("t.tar.gz" if zipped else "t.tar")).write_bytes(gzip.compress(content) if zipped else content)
    tars = Tars([path])
    assert tars.names.to_pylist() == ["a.wav", "z.wav"]
    assert "is stored without its zeros (a sparse file)" in str(tars.unread()[0])
    assert tars.seconds[1] == 8 / RATE


def test_names_that_are_no_text_lose_nothing(tmp_path: Path) -> None:
    sound = WAV.getvalue()
    with tarfile.open(tmp_path / "t.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        for name in ("Fl\xf6te.wav", "\xe4" * 120 + ".wav"):
            member = tarfile.TarInfo(name)
            member.size = len(sound)
            tar.addfile(member, io.BytesIO(sound))
    assert Tars([tmp_path / "t.tar"]).names.to_pylist() == ["Fl\\xf6te.wav", "\\xe4" * 120 + ".wav"]


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path) -> None:
    content = bytearray(write_tar(tmp_path / "t.tar", OGGS, "w").read_bytes())
    content[content.index(b"a/XC3.ogg") + 3] ^= 1
    (tmp_path / "t.tar").write_bytes(content)
    with pytest.raises(OscineError, match=r"no whole tar file \(bad checksum, at byte [\d,]+\); download it again"):
        Tars([tmp_path / "t.tar"])


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_asks_for_gigabytes_is_refused(kind: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(headed("x", 8 * 2**30, kind) + bytes(2048))
    with pytest.raises(OscineError, match=r"a header of 8,589,934,592 bytes, at byte 0"):
        Tars([tmp_path / "t.tar"])


def test_a_tar_replaced_by_another_of_the_same_size_and_time_is_indexed_anew(
    tar: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Tars([tar])
    was, swapped = tar.stat(), tar.read_bytes().replace(b"XC0.ogg", b"CX0.ogg")  # of the same checksum
    if tar.suffix == ".gz":
        swapped = bytearray(tar.read_bytes())
        swapped[4:8] = bytes(4)  # its time, in the header
    assert tar.write_bytes(swapped) == was.st_size
    os.utime(tar, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert Tars([tar]).names[0].as_py() == ("XC0.ogg" if tar.suffix == ".gz" else "CX0.ogg")
    assert "is another file than the one of this size and time that was indexed before" in caplog.text


def test_an_index_that_is_hostile_or_of_before_is_made_anew(tar: Path) -> None:
    Tars([tar])
    index = tar.parent / ".index" / f"{tar.name}.parquet"
    good = pq.read_table(index)

    def put(**columns: object) -> pa.Table:
        table = good
        for name, values in columns.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))
        return table

    rows = len(good)
    hostile = {
        "0.1's": good.drop_columns(["note"]).replace_schema_metadata({**good.schema.metadata, b"version": b"1"}),
        "names of numbers": good.set_column(0, "name", pa.array(range(rows))).replace_schema_metadata(good.schema.metadata),
        "no rate": put(rate=[0] * rows), "frames": put(frames=[2**62] * rows), "before": put(offset=[-1] * rows),
        "runs": put(runs=[[0, 2**62, 2**62, 2**62]] * rows), "no numbers": put(runs=[[None, 3]] * rows),
        "overlapping": put(runs=[[0, 8, 4, 8]] * rows), "nothing": put(name=[None] * rows),
        "lengths": put(length=[2**62] * rows), "negative": put(length=[-1] * rows),
    }  # fmt: skip
    for name, table in hostile.items():
        pq.write_table(table, index)
        assert np.array_equal(Tars([tar]).seconds, [3, 4, 5, 6, 7, 8, np.nan], equal_nan=True), name
    index.write_bytes(b"no parquet")
    assert len(Tars([tar]).names) == 7


def test_a_tar_that_may_not_be_read_is_one_line(tar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, mode: str) -> None:  # a mode of 000 does not stop root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(OscineError, match=rf"{tar.name} may not be read; give yourself permission to read it"):
        Tars([tar])
