"""Tables, annotations and lists that are cut, flipped, swapped or hostile end in a line for the user, soon, or are read."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from oscine.models.audio.load import audio_info
from oscine.models.errors import OscineError
from oscine.models.recordings.audioset import read_ontology, read_segments
from oscine.models.recordings.tables import read_list
from oscine.probe.tasks.annotated import cut_clips, read_annotated
from oscine.probe.tasks.published import dcase2016, esc50
from oscine.probe.tasks.selection_tables import read_audacity, read_raven, write_audacity, write_raven
from oscine.probe.tasks.splits import read_labelled, write_folds

TRIES = 120  # of each kind; more were run while this was written
SLOWEST = 5.0  # seconds of a call on tables of a few rows, on a busy machine
HEADER = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\tScore\n"
RAVEN = HEADER + "1\tS\t1\t0.1\t0.5\t100\t200\twren\t0.5\n2\tS\t1\t0.5\t0.9\t\t\ttit\t\n"
LABELLED = "path,label,start,end,fold,site\n" + "".join(
    f"{'abc'[n % 3]}.wav,{'xy'[n % 2]},{n // 3},{n // 3 + 1},{n % 3},s{n % 3}\n" for n in range(9)
)
SEVERAL = "path,labels,split,channel\na.wav,x;y,Train,1\nb.wav,,test,left\nc.wav,y,test,\nd.wav,y,dev,2\n"
SEGMENTS = '# made\n# num_ytids=1\n# YTID, start\n--PJHxphWEs, 30.000, 40.000, "/m/a,/m/c"\n'
TOKENS = (
    b"\0", b"\xff\xfe", b"\xe9", b"\xed\xa0\x80", b'"', b"'", b"\t", b"\r", b"\n", b",", b";", b"\\", b"nan", b"inf", b"-1",
    b"1e999", b"1e308", b"0x10", b"1_000", b"1,5", b"1.500,25", b"=cmd|' /C calc'!A0", b"\x1b]0;t\x07", b"../../etc/passwd",
    b"/dev/zero", b"\xc2\x85", b"\xe2\x80\xa8", b"a" * 5000, b"9" * 400, b"[" * 5000, b"path", b"Begin Path\t", b"labels",
    b"\xef\xbb\xbf", b"sep=;\n", b"PK\x03\x04", "é".encode("utf-16"), "１２".encode(),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        soundfile.write(tmp_path / name, np.zeros((24_000, 2)), 8000)
    return tmp_path


def damaged(content: bytes, seed: int, tries: int = TRIES) -> Iterator[bytes]:
    """What may become of a file: cut, bits flipped, lines and cells swapped or doubled, tokens put in, several at once."""
    rng = random.Random(seed)
    for _ in range(tries):
        text = bytearray(content)
        for _ in range(rng.randrange(1, 4)):
            kind, at = rng.randrange(6), rng.randrange(len(text) + 1)
            if kind == 0:
                del text[at:]
            elif kind == 1 and at < len(text):
                text[at] ^= 1 << rng.randrange(8)
            elif kind == 2:
                lines = text.split(b"\n")
                rng.shuffle(lines)
                text = bytearray(b"\n".join(lines))
            elif kind == 3:
                text[at:at] = text[rng.randrange(len(text) + 1) :][: rng.randrange(1, 80)]
            elif kind == 4:
                text[at : at + rng.randrange(0, 9)] = rng.choice(TOKENS)
            else:
                del text[at : at + rng.randrange(1, 30)]
        yield bytes(text)


def check(read: Callable[[Path], object], path: Path, content: bytes) -> bool:
    """Read a damaged file; whether it was read. Anything but an answer in time, or one line for the user, fails."""
    path.write_bytes(content)
    begin, said = time.process_time(), ""
    try:
        read(path)
    except OscineError as error:
        said = str(error)
    except Exception as error:
        error.add_note(f"the file was {content[:2000]!r}")
        raise
    assert time.process_time() - begin < SLOWEST, content[:2000]
    assert "\n" not in said, content[:2000]
    assert len(said) < 2500, content[:2000]
    return not said


def again(path: Path) -> None:
    """Read a labelled table, and what is written of it."""
    table = read_labelled(path)
    write_folds(
        path.with_name("folds.csv"),
        table.rows.assign(fold=table.rows.get("fold", 1)).drop(columns="split", errors="ignore"),
    )


def raven(path: Path) -> None:
    """Read a selection table, write it, and read the same again."""
    recordings = [path.with_name("a.wav"), path.with_name("b.wav")]
    found = read_raven(path, recordings)
    if len(found) and found[["start", "end"]].abs().to_numpy().max() < 1e6:
        write_raven(path.with_name("out.txt"), found, {str(one): audio_info(one) for one in recordings})
        assert sorted(read_raven(path.with_name("out.txt"), recordings)["label"]) == sorted(
            " ".join(label.split()) for label in found["label"]
        )


def audacity(path: Path) -> None:
    found = read_audacity(path, [path.with_name("a.wav")])
    write_audacity(path.with_name("out.txt"), found)


def annotated(path: Path) -> None:
    for skip in (False, True):
        cut_clips(read_annotated(path.parent, skip_bad_tables=skip), 0.5)


KINDS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "labelled": ("labels.csv", LABELLED.encode(), again),
    "several": ("labels.csv", SEVERAL.encode(), again),
    "utf-16": ("labels.csv", LABELLED.encode("utf-16"), again),
    "list": ("list.csv", b"file,start,end\na.wav,0,1\nb.wav,,\n", read_list),
    "paths": ("list.txt", b"a.wav\nb.wav\n", read_list),
    "raven": ("a.Table.1.selections.txt", RAVEN.encode(), raven),
    "raven of several": (
        "all.txt", (HEADER.strip() + "\tBegin Path\tFile Offset (s)\n1\tS\t1\t1.5\t2\t0\t9\tx\t\tE:\\b.wav\t0.5\n").encode(),
        raven,
    ),
    "audacity": ("a.txt", b"0.1\t0.5\twren\n\\\t100\t200\n0.7\t0.9\ta b\n", audacity),
    "a folder": ("a.Table.1.selections.txt", RAVEN.encode(), annotated),
    "segments": ("eval_segments.csv", SEGMENTS.encode(), read_segments),
    "ontology": ("ontology.json", json.dumps([{"id": "/m/a", "name": "Bark"}]).encode(), read_ontology),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_of_a_table_ends_in_a_traceback_or_a_hang(kind: str, folder: Path) -> None:
    name, content, read = KINDS[kind]
    assert check(read, folder / name, content), "the undamaged file is read"
    answers = [check(read, folder / name, bad) for bad in damaged(content, seed=sorted(KINDS).index(kind))]
    assert not all(answers)


PUBLISHED = {
    "meta/esc50.csv": (b"filename,fold,target,category,esc10,src_file,take\nx.wav,1,0,dog,True,1,A\n", esc50),
    "train.json": (json.dumps({"x.wav": [{"start": 1.0, "end": 2.0, "label": "a"}]}).encode(), dcase2016),
    "labelvocabulary.csv": (b"idx,label\n0,a\n", dcase2016),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_damage_of_a_published_list_ends_in_a_traceback(name: str, folder: Path) -> None:
    content, read = PUBLISHED[name]
    for path, (whole, _) in PUBLISHED.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(whole)
    for bad in damaged(content, seed=1, tries=40):
        check(lambda _: read(folder), folder / name, bad)


@pytest.mark.parametrize("read", [again, read_list, raven, audacity, read_segments, read_ontology])
def test_what_is_huge_or_deep_ends_in_a_line(read: Callable[[Path], object], folder: Path) -> None:
    path = folder / "a.txt"
    for content in (
        b"path,label\na.wav," + b"x" * 200_000, b"[" * 200_000, b"{" * 200_000, b'"' * 200_001, b"a.wav\t" * 50_000,
        b"\n" * 200_000, b",".join([b"path"] * 3000), b"\xff" * 1000, b"",
    ):  # fmt: skip
        check(read, path, content)
