"""Read the clips of a table of embeddings: where each lies, and its features."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from oscine.models.embed.table import read_table
from oscine.models.embed.table_metadata import KEYS
from oscine.models.errors import OscineError
from oscine.models.recordings.inputs import find_inputs
from oscine.probe.features.embedding_table import check_embeddings, choose_column, vectors_of
from oscine.probe.label.journal import Clip
from oscine.probe.label.standardise import standardise

DIGITS = 16  # of a table's fingerprint

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ClipTable:
    """The clips of a table, numbered from 0 in its order.

    features     [clips, dim], float32, as the encoder gave them
    column       of the table that they are from; made_by: what made the table, as its metadata say
    fingerprint  of the table's rows, its encoder and that column
    """

    path: Path
    clips: list[Clip]
    features: np.ndarray
    column: str
    made_by: dict[str, Any]
    fingerprint: str

    @cached_property
    def numbers(self) -> dict[Clip, int]:
        """The number of every clip."""
        return {clip: number for number, clip in enumerate(self.clips)}

    @cached_property
    def rows(self) -> np.ndarray:  # [clips, dim]
        """The features standardised over all clips, and scaled so that their mean length is MEAN_NORM; float32."""
        return standardise(self.features)


def read_clips(path: str | Path, column: str | None = None) -> ClipTable:
    """Read the clips of a table that `oscine embed` wrote, in Parquet. column: of several, the one to take."""
    path = Path(path)
    made = check_embeddings(path)
    name = choose_column(path, made, column)
    table = read_table(path, [name])
    if not len(table):
        raise OscineError(f"{path} has no clips; embed a folder with recordings")
    clips = [Clip(*row) for row in zip(*(table[key].to_pylist() for key in KEYS))]
    features = vectors_of(path, table, name, range(len(table)))
    identity = json.dumps([made["fingerprint"], made["content"]["keys"] if "content" in made else len(clips), name])
    return ClipTable(path, clips, features, name, made, hashlib.sha256(identity.encode()).hexdigest()[:DIGITS])


def find_recordings(table: ClipTable, recordings: str | Path) -> dict[str, Path]:
    """Find the file of every recording of a table, by its name there; what is not there is a line of the log.

    recordings: the folder, or list, that was embedded.
    """
    places: Mapping[str, Path] = find_inputs(recordings).places
    names = list(dict.fromkeys(clip.recording for clip in table.clips))
    missing = [name for name in names if name not in places]
    if len(missing) == len(names):
        raise OscineError(
            f"none of the {len(names)} recordings of {table.path} is in {recordings}, such as {names[0]}; give the folder "
            "that was embedded"
        )
    if missing:
        logger.warning(
            "%d of the %d recordings of %s are not in %s, such as %s; their clips are not asked for",
            len(missing), len(names), table.path, recordings, missing[0],
        )  # fmt: skip
    return {name: places[name] for name in names if name in places}
