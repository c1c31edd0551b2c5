"""Tiny stand-ins for BirdSet, laid down as the Hub's cache lays the real one: links to blobs, all tar files, its Parquet."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

RATE = 32_000
TARS = {
    "HSN_train": 7, "NBP_train": 32, "NES_train": 13, "PER_train": 11, "POW_train": 9, "SNE_train": 21, "SSW_train": 29,
    "UHH_train": 5, "XCL": 98, "XCM": 182, "HSN_test": 3, "HSN_test5s": 1, "NBP_test5s": 1, "NES_test5s": 1, "PER_test5s": 1,
    "POW_test5s": 1, "SNE_test5s": 1, "SSW_test5s": 4, "UHH_test5s": 1,
}  # fmt: skip


def ogg(seconds: float, seed: int, call: tuple[float, float] | None = None) -> bytes:
    """A recording of faint noise, loud from `call`'s first to its second second."""
    rng = np.random.default_rng(seed)
    waveform = rng.uniform(-0.001, 0.001, round(seconds * RATE))
    if call:
        first, last = (round(time * RATE) for time in call)
        waveform[first:last] = rng.uniform(-0.5, 0.5, last - first)
    file = io.BytesIO()
    soundfile.write(file, waveform, RATE, format="OGG", subtype="VORBIS")
    return file.getvalue()


def write_split(
    repository: Path,
    stem: str,
    metadata: str,
    rows: pd.DataFrame,
    recordings: dict[str, bytes],
    suffix: str = ".tar.gz",
) -> Path:
    """A split of a configuration: its recordings dealt out to as many tar files as the real one has; returns the folder.

    stem: of the tar files, such as HSN_train; metadata: name of the Parquet.
    """
    folder = repository / "snapshots" / "0123abcd" / stem.split("_")[0]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(TARS[stem]):
        mine = list(recordings.items())[number :: TARS[stem]]
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz" if suffix == ".tar.gz" else "w") as tar:
            for name, data in [("._hidden.ogg", b"x"), ("README.md", b"y"), *mine]:
                member = tarfile.TarInfo(f"{stem}_shard/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        link(repository, folder / f"{stem}_shard_{number + 1:04d}{suffix}", content.getvalue())
    table = io.BytesIO()
    rows.to_parquet(table)
    link(repository, folder / metadata, table.getvalue())
    return folder


def link(repository: Path, path: Path, content: bytes) -> None:
    blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(content)
    path.unlink(missing_ok=True)
    path.symlink_to(Path("../../..") / "blobs" / blob.name)


def train_rows(rows: dict[str, tuple[str, list[list[float]], list[int]]]) -> pd.DataFrame:
    """Metadata of training recordings: species, events, their clusters."""
    return pd.DataFrame(
        {
            "filepath": [f"some/where/{name}" for name in rows],
            "ebird_code": [species for species, _, _ in rows.values()],
            "ebird_code_multilabel": [[species] for species, _, _ in rows.values()],
            "detected_events": [events for _, events, _ in rows.values()],
            "event_cluster": [clusters for _, _, clusters in rows.values()],
            "start_time": np.nan,
            "end_time": np.nan,
            "length": 0,
            "recordist": "somebody",
        }
    )
