"""Whatever a recording or a tar says, it is read, or refused in one line: no other error, no hang, no flood of memory.

Files of every container are cut, have bytes flipped, parts swapped and hostile numbers in every field of their headers.
Each kind is read in a process of its own, which a decoder may crash and a clock ends.
"""

from __future__ import annotations

import gzip
import io
import logging
import multiprocessing
import random
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from oscine.models.audio.load import audio_info, load_audio
from oscine.models.audio.tar import Tars
from oscine.models.errors import OscineError
from tests.fuzzing import damaged

RATE = 8000
SOUND = 0.2 * np.random.default_rng(0).standard_normal((RATE // 4, 1)).astype(np.float32)
NUMBERS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
SECONDS = 100  # that one kind may take on a machine that is busy: most take one
MEMORY = 2**30  # bytes that it may ask for beyond what is there before

CONTAINERS = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("WAV", "IMA_ADPCM"), ("WAV", "GSM610"), ("WAV", "G721_32"),
    ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AIFF", "IMA_ADPCM"), ("AU", "PCM_16"),
    ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip


def recording(container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SOUND, RATE, format=container, subtype=subtype)
    return file.getvalue()


def tar(zipped: bool) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
        for container, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")):
            content = recording(container, subtype)
            member = tarfile.TarInfo(f"ä/{'long' * 40}/a.{container.lower()}")
            member.size, member.mtime = len(content), 0.5  # a name and a time that take a header more
            made.addfile(member, io.BytesIO(content))
        made.addfile(*sparse(content=recording("WAV", "PCM_16")))
    return gzip.compress(file.getvalue()) if zipped else file.getvalue()


def sparse(content: bytes) -> tuple[tarfile.TarInfo, io.BytesIO]:
    """A member without the bytes from 200 to 400, which count as zeros."""
    member = tarfile.TarInfo("sparse.wav")
    member.size = len(content) - 200
    member.pax_headers = {"GNU.sparse.map": f"0,200,400,{len(content) - 400}", "GNU.sparse.size": str(len(content))}
    return member, io.BytesIO(content[:200] + content[400:])


def damaged_files(content: bytes, head: int, count: int) -> list[bytes]:
    """The file damaged by chance so many times; then with numbers in each field of its first `head` bytes."""
    files = [damaged(content, random.Random(seed)) for seed in range(count)]
    for place in range(0, min(head, len(content) - 8), 4):
        numbers = [number.to_bytes(4, order) for number in NUMBERS for order in ("little", "big")]
        for field in (*numbers, b"\xff" * 8, b"\x7f" + b"\xff" * 7):
            files.append(content[:place] + field + content[place + len(field) :])
    return files


def read_recording(folder: Path, content: bytes) -> None:
    (path := folder / "a").write_bytes(content)
    info = audio_info(path)
    assert 0 < info.frames < 10_000 * len(content)
    load_audio(path, 16_000, 0.1, 0.1)
    load_audio(path, info.sample_rate)


def read_tar(folder: Path, content: bytes) -> None:
    (path := folder / "a.tar").write_bytes(content)
    tars = Tars([path])
    unread = tars.unread()
    for number in range(len(tars.names)):
        if number not in unread:
            tars.load(number, RATE, 0.0, 0.1)


def read_index(folder: Path, content: bytes) -> None:
    """A tar beside which lies an index of which `content` is a part: the first bytes say which."""
    path = folder / "a.tar"
    if not path.exists():
        path.write_bytes(tar(True))
        Tars([path])
    name = ("a.tar.parquet", "a.tar.points.npy")[content.startswith(b"\x93NUMPY")]
    (folder / ".index" / name).write_bytes(content)
    tars = Tars([path])
    assert tars.names.to_pylist() == ["a.wav", "a.flac", "a.ogg", "sparse.wav"]
    assert [len(tars.load(number, RATE, 0.0, 0.1)) for number in range(4)] == [800] * 4


def _try_all(read: Callable[[Path, bytes], None], folder: Path, files: list[bytes]) -> None:
    logging.disable()
    if Path("/proc/self/statm").exists():
        import resource

        asked = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (asked + MEMORY, -1))
    for number, content in enumerate(files):
        said = ""
        try:
            read(folder, content)
        except OscineError as error:
            said = str(error)
        except BaseException as error:
            raise AssertionError(f"file {number} of {len(files)}, {content[:80]!r}...: {error!r}") from error
        assert said.isprintable() and len(said) < 500, f"file {number} of {len(files)}: {said!r}"  # noqa: PT018


def survive(read: Callable[[Path, bytes], None], folder: Path, files: list[bytes]) -> None:
    """Read all files in another process, which ends well and in time."""
    if sys.platform == "win32":
        _try_all(read, folder, files)
        return
    process = multiprocessing.get_context("fork").Process(target=_try_all, args=(read, folder, files))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
    process.join()
    assert process.exitcode == 0, "a file crashed its reader, took too long, or ended in another error: see above"


@pytest.mark.parametrize("how", CONTAINERS, ids="-".join)
def test_a_damaged_recording_is_read_or_refused_in_one_line(how: tuple[str, str], tmp_path: Path) -> None:
    survive(read_recording, tmp_path, damaged_files(recording(*how), 96, 45))


def test_damaged_ogg_streams_one_behind_another_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    chained = recording("OGG", "VORBIS") + recording("OGG", "OPUS") + recording("OGG", "VORBIS")
    survive(read_recording, tmp_path, damaged_files(chained, 48, 60))


@pytest.mark.parametrize("size", [0, 2**32 - 1])
def test_a_damaged_recording_of_unknown_length_is_read_or_refused_in_one_line(size: int, tmp_path: Path) -> None:
    content = recording("WAV", "PCM_16")
    content = content[:40] + size.to_bytes(4, "little") + content[44:] + bytes(2**17)
    survive(read_recording, tmp_path, damaged_files(content, 44, 30))


@pytest.mark.parametrize("zipped", [False, True])
def test_a_damaged_tar_is_read_or_refused_in_one_line(zipped: bool, tmp_path: Path) -> None:
    content = tar(zipped)
    files = damaged_files(content, 10 if zipped else 2048, 180)  # headers of a gzip file; of the first recording
    if not zipped:  # of the sparse one, and its map
        last = content.index(b"GNU.sparse.map") // 512 * 512 - 512
        files += [content[:last] + file for file in damaged_files(content[last:], 1536, 90)]
    survive(read_tar, tmp_path, random.Random(0).sample(files, 200))


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    (path := tmp_path / "a.tar").write_bytes(tar(True))
    Tars([path])
    index = tmp_path / ".index"
    files = [
        file
        for name in ("a.tar.parquet", "a.tar.points.npy")
        for file in damaged_files((index / name).read_bytes(), 160, 60)
    ]
    survive(read_index, tmp_path, random.Random(0).sample(files, 120))
