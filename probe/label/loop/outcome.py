"""Write what comes of labelling: a labelled table for `oscine probe --table`, and the fitted probe for `oscine predict`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.errors import OscineError
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.saved_probe import open_encoder, save_probe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.label.journal import Clip, JournalContent, find_journals, read_journal
from oscine.probe.label.loop.clips import ClipTable
from oscine.probe.label.loop.learner import Learnt
from oscine.probe.label.probe_input import PROBE_INPUT
from oscine.probe.label.standardise import standardisation
from oscine.probe.label.votes.combine import CombineSettings
from oscine.probe.label.votes.read import VoteSettings, read_votes
from oscine.probe.label.votes.table import TableSettings, WrittenTable, write_combined
from oscine.probe.tasks.kinds import TaskKind

LABELS, PROBE = "labels.csv", "probe"  # in the folder of the journals


class WrittenLabels(NamedTuple):
    """A labelled table, and the classes that are not in it, with how many clips were asked for each."""

    table: WrittenTable
    late: dict[str, int]


def write_labels(folder: Path, recordings: Path) -> WrittenLabels:
    """Combine all journals of a folder, by majority, into its labelled table. recordings: the folder that was embedded."""
    late = late_classes([read_journal(path) for path in find_journals(folder)])
    votes = read_votes([folder], VoteSettings(recordings, without=[*late]))
    return WrittenLabels(write_combined(votes, CombineSettings(), TableSettings(folder / LABELS, overwrite=True)), late)


def late_classes(contents: Sequence[JournalContent]) -> dict[str, int]:
    """Return the classes that were added too late for a table, with how many clips were asked for each.

    A table has no word for "nobody was asked", and would call the class absent. So either it leaves out the class, or the
    clips from before: whichever keeps more labels.
    """
    asked: dict[str, set[Clip]] = {name: set() for content in contents for name in content.classes}
    for answer in [answer for content in contents if not content.one_label for answer in content.first_answers]:
        for name in answer.states:
            asked[name].add(answer.clip)
    order = sorted(asked, key=lambda name: -len(asked[name]))
    whole = accumulate([frozenset(asked[name]) for name in order], lambda kept, more: kept & more)
    labels = [len(clips) * count for count, clips in enumerate(whole, start=1)]
    kept = 1 + int(np.argmax(labels)) if labels else 0
    return {name: len(asked[name]) for name in order[kept:]} if any(labels) else {}


def write_probe(table: ClipTable, learnt: Learnt, folder: Path) -> Path:
    """Write what was learnt as a linear probe on the table's encoder, which is opened by its name.

    It has no scores: audit clips judge the probes that chose, each by less than this one has learnt.
    """
    if table.column == PROBE_INPUT:
        raise OscineError(
            f"{table.path} holds what another probe's last map reads; oscine probe fits one to the labels"
        )
    encoder = open_table_encoder(table)
    column = table.made_by["columns"][table.column]
    head = {"pool": column["pool"], "norm": "none", "layer": column["layer"]}
    probe = LinearProbe(encoder, len(learnt.classes), **head)
    offset, scale = (values.astype(np.float64) for values in standardisation(table.features))
    weight = learnt.weight * scale
    probe.load_state_dict(
        {
            "fc.weight": torch.from_numpy(weight).float(),
            "fc.bias": torch.from_numpy(learnt.bias - weight @ offset).float(),
        }
    )
    fitted = FittedProbe(
        probe.eval(), encoder, head, learnt.classes, table.made_by["clip_seconds"],
        TaskKind.SINGLE if learnt.one_label else TaskKind.MULTI,
        fitted_on={"task": "label", "rows": learnt.clips, "judged": []},
    )  # fmt: skip
    return save_probe(fitted, folder / PROBE)


def open_table_encoder(table: ClipTable) -> Encoder:
    """Open the encoder that made a table; raise where it has no name, or its weights are others by now."""
    made = table.made_by
    if not made["model"]:
        raise OscineError(
            f"{table.path} does not name its encoder; oscine probe linear --encoder ENCODER fits a probe on it"
        )
    known = {"beside": False, "repository": None, "revision": None, "model": made["model"], "config": made["config"]}
    encoder = open_encoder(table.path, known, None)
    if fingerprint(encoder) != made["fingerprint"]:
        raise OscineError(
            f"{made['model']} has other weights than when {table.path} was made; embed the recordings again"
        )
    return encoder.eval()
