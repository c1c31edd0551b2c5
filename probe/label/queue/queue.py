"""Choose the clips of a queue: by what was labelled so far, or by what a fitted probe says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from oscine.models.encoders.base.features import VECTORS
from oscine.models.encoders.base.fingerprint import digest
from oscine.models.errors import OscineError
from oscine.models.text.words import counted
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.saved_probe import load_probe
from oscine.probe.features.embedding_table import read_all_embedded
from oscine.probe.label.journal import JournalContent, find_journals, read_journal
from oscine.probe.label.loop.answers import votes_of
from oscine.probe.label.loop.audit import audit_order
from oscine.probe.label.loop.batches import Chosen, Knowledge, check_strategy, choose_batch, chosen_by
from oscine.probe.label.loop.clips import ClipTable, find_recordings, read_clips
from oscine.probe.label.loop.learner import Votes, gather_labels, learn
from oscine.probe.label.loop.settings import LoopSettings
from oscine.probe.label.probe_input import PROBE_INPUT, last_map
from oscine.probe.metrics.decisions import as_probabilities

EMBED = "oscine embed FOLDER --probe PROBE --out TABLE writes what its last linear map reads"


@dataclass(frozen=True)
class QueueSettings:
    """What a queue is chosen by.

    table       of embeddings; column: of several, the one to choose by
    count       clips
    labels      folder of journals with what was labelled so far, which need not be there
    probe       a fitted probe whose answers choose, in place of one that is fitted to the labels
    recordings  the folder, or list, that was embedded: clips are then of recordings that are there
    loop        one_label, strategy, seed and audit are used
    """

    table: Path
    count: int = 50
    labels: Path | None = None
    probe: Path | None = None
    column: str | None = None
    recordings: Path | None = None
    loop: LoopSettings = field(default_factory=LoopSettings)


class Queue(NamedTuple):
    """The clips of a table that are to be labelled, and why these.

    one_label: whether a clip has exactly one class; places: of the recordings by their names, where they were asked for.
    """

    table: ClipTable
    chosen: list[Chosen]
    reason: str
    one_label: bool
    places: dict[str, Path]


def make_queue(settings: QueueSettings) -> Queue:
    """Choose the clips of a table that are to be labelled next."""
    check_strategy(settings.loop.strategy)
    table = read_clips(settings.table, settings.column)
    contents, fitted = read_labels(settings.labels), settings.probe and load_probe(settings.probe)
    classes = classes_of(contents)
    if fitted and contents and {*classes} != {*fitted.classes}:
        raise OscineError(f"{settings.labels} is about other classes than {settings.probe}; give only one of them")
    classes = fitted.classes if fitted else classes
    one_label = contents[0].one_label if contents else fitted.single_label if fitted else settings.loop.one_label
    loop = replace(settings.loop, one_label=one_label, batch=settings.count)
    votes = votes_of(table, contents)
    labels = gather_labels(votes, classes, one_label=one_label)
    places = find_recordings(table, settings.recordings) if settings.recordings else {}
    left = _left(table, votes, settings, places)
    learnt = learn(table.rows[labels.clips], labels, classes) if not fitted else None
    knowledge = Knowledge(labels, learnt, left, shares_of(fitted, table) if fitted else None)
    batch = 1 + max((answer.batch for one in contents for answer in one.answers), default=-1)
    chosen = choose_batch(table, knowledge, loop, order=audit_order(table, loop.seed), batch=batch)
    return Queue(table, chosen, chosen_by(loop, blind=knowledge.blind), one_label, places)


def _left(table: ClipTable, votes: Votes, settings: QueueSettings, places: Mapping[str, Path]) -> list[int]:
    """Return the clips that have no answer and, where recordings are asked for, whose recording is there."""
    left = [number for number in range(len(table.clips)) if number not in votes]
    if not left:
        raise OscineError(f"every clip of {table.path} has an answer in {settings.labels}; nothing is left to choose")
    there = [number for number in left if not settings.recordings or table.clips[number].recording in places]
    if not there:
        raise OscineError(
            f"the recordings of all {counted(len(left), 'clip')} of {table.path} without an answer are not in "
            f"{settings.recordings}; give the folder that was embedded"
        )
    return there


def read_labels(folder: Path | None) -> list[JournalContent]:
    """Read the journals of a folder; none where it is not there."""
    return [read_journal(path) for path in find_journals(folder)] if folder and folder.is_dir() else []


def classes_of(contents: list[JournalContent]) -> list[str]:
    """Return the classes that people were asked for, in the order in which they came up."""
    return list(dict.fromkeys(name for one in contents for name in one.classes))


@torch.inference_mode()
def shares_of(fitted: FittedProbe, table: ClipTable) -> np.ndarray:  # [clips, classes]
    """Return what a fitted probe says of every clip, by what the table holds: nothing is encoded."""
    if table.column == PROBE_INPUT:
        if table.made_by.get("probe_fingerprint") != digest(fitted.probe.stored()):
            raise OscineError(f"{table.path} holds what another probe's last map reads; make it with this one: {EMBED}")
        logits = last_map(fitted.probe)(torch.from_numpy(table.features))
    elif others := [part for part in fitted.probe.needs.parts if part not in VECTORS]:
        raise OscineError(
            f"this probe reads {' and '.join(others)} of a clip, which {table.path} does not hold; {EMBED}"
        )
    else:
        logits = fitted.probe(read_all_embedded(table.path, fitted.encoder, fitted.probe.needs))
    return as_probabilities(logits, fitted.kind, fitted.scaling).double().numpy()
