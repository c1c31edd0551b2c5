"""Replay one strategy on labels that exist: choose, take the labels, fit the probe anew, score it, and again."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.json_text import fits, read_json
from oscine.probe.label.posterior import LastLayerLaplace
from oscine.probe.label.simulation.probes import FittedLayer, fit_probe, score
from oscine.probe.label.simulation.settings import SimulationSettings, StrategyCall
from oscine.probe.label.simulation.views import View
from oscine.probe.label.state import State
from oscine.probe.label.strategies.initial import initial_set
from oscine.probe.label.strategies.registry import choose, needs

FIRST, LATER = 0, 1  # what random numbers of a seed are for: the initial set; the draws of any strategy
LONGEST = 5  # times its size, to which an initial set grows while all of its clips have the same labels
DRAWS = 100  # of the posterior's logits a clip, where a strategy asks for them
ALL_LABELS = "all labels"  # in place of a strategy: the probe that has every label, once

logger = logging.getLogger(__name__)


class Replay(NamedTuple):
    """Which run: a strategy, from an initial set, for a seed, on what an encoder says."""

    seed: int
    encoder: str
    initial_set: str
    strategy: str


@dataclass
class Curve:
    """What a run came to, a number a point: after the initial set and after every batch.

    labels          clips that have labels
    scores          by the name of the metric; None where it is not defined
    positives       labels of those clips, all classes together
    rarest          labelled clips of the class that has fewest
    classes_found   classes that a labelled clip has
    seconds         that the strategy took to choose, before this point
    chosen          the rows of the task that were labelled before this point, in the order in which they were chosen
    """

    labels: list[int] = field(default_factory=list)
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    positives: list[int] = field(default_factory=list)
    rarest: list[int] = field(default_factory=list)
    classes_found: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    chosen: list[list[int]] = field(default_factory=list)

    def add(
        self, seen: View, labelled: Sequence[int], batch: Sequence[int], seconds: float, fitted: FittedLayer
    ) -> None:
        """Add a point. labelled, batch: clips of the view, all and those that came last."""
        counts = count_labels(seen, labelled)
        self.labels.append(len(labelled))
        self.positives.append(int(counts.sum()))
        self.rarest.append(int(counts.min()))
        self.classes_found.append(int((counts > 0).sum()))
        self.seconds.append(round(seconds, 4))
        self.chosen.append(seen.rows[list(batch)].tolist())
        for name, value in score(fitted.logits(seen.judged_features), seen.judged_labels, seen.several).items():
            self.scores.setdefault(name, []).append(None if math.isnan(value) else value)


def replay_all(settings: SimulationSettings, seen: View) -> Curve:
    """Score the probe that has the label of every clip to choose from."""
    curve, clips = Curve(), list(range(len(seen.rows)))
    curve.add(seen, clips, [], 0.0, _fit(settings, seen, clips))
    return curve


def replay(settings: SimulationSettings, seen: View, call: StrategyCall, labelled: list[int], seed: int) -> Curve:
    """Buy batch after batch from an initial set on, and score the probe after each. labelled: clips of the view.

    An initial set that had to grow has some of the first batches' labels; those batches are smaller, or empty.
    """
    generator, curve = np.random.default_rng([seed, LATER]), Curve()
    fitted = _fit(settings, seen, labelled)
    curve.add(seen, labelled, labelled, 0.0, fitted)
    for number in range(1, settings.batches + 1):
        count = settings.initial + number * settings.batch - len(labelled)
        batch, seconds = np.empty(0, dtype=int), 0.0
        if count > 0:
            state = make_state(seen, labelled, fitted, call.name, seed)
            begin = time.perf_counter()
            batch = choose(call.name, state, count, generator, **call.options)
            seconds = time.perf_counter() - begin
            labelled = [*labelled, *batch.tolist()]
            fitted = _fit(settings, seen, labelled)
        curve.add(seen, labelled, batch.tolist(), seconds, fitted)
    return curve


def make_state(seen: View, labelled: Sequence[int], fitted: FittedLayer, strategy: str, seed: int) -> State:
    """Make the state that a strategy sees: clips to choose from alone, never those that scores are of."""
    clips = np.asarray(labelled, dtype=np.int64)
    samples = None
    if "samples" in needs(strategy):
        posterior = LastLayerLaplace(
            seen.features[clips], seen.labels[clips], classes=seen.classes, several=seen.several
        )
        samples = posterior.samples(seen.features, DRAWS, np.random.default_rng([seed, LATER, len(clips)]))
    return State(
        seen.features,
        fitted.probabilities(seen.features),
        labelled=clips,
        labels=seen.labels[clips],
        candidates=np.setdiff1d(np.arange(len(seen.rows)), clips),
        several=seen.several,
        weight=fitted.weight,
        bias=fitted.bias,
        samples=samples,
    )


def first_clips(settings: SimulationSettings, seen: View, rule: str, seed: int, path: Path) -> list[int]:
    """Return the clips of the view that are labelled first, rising: those that the file lists, else by the rule.

    Every strategy begins with the same; the file, a list of rows of the task, is written where it is not there. While all
    clips have the same labels, further ones are drawn, up to `LONGEST` times as many.
    """
    if path.is_file():
        return _read_rows(path, seen)
    generator = np.random.default_rng([seed, FIRST])
    chosen = initial_set(rule, seen.features, settings.initial, generator).tolist()
    rest = generator.permutation(np.setdiff1d(np.arange(len(seen.rows)), chosen)).tolist()
    most = min(LONGEST * settings.initial, settings.most_labels)
    while _alike(seen, chosen) and rest and len(chosen) < most:
        chosen.append(rest.pop(0))
    if _alike(seen, chosen):
        logger.warning("all %d clips of the initial set %s have the same labels", len(chosen), path.stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(sorted(seen.rows[chosen].tolist())) + "\n").encode())
    return sorted(chosen)


def _read_rows(path: Path, seen: View) -> list[int]:
    rows = read_json(path, "delete it to have it chosen anew")
    places = {row: place for place, row in enumerate(seen.rows.tolist())}
    if not fits(rows, list[int]) or len(set(rows)) < len(rows) or not rows:
        raise OscineError(f"{path} is no list of different rows; delete it to have it chosen anew")
    if outside := [row for row in rows if row not in places]:
        raise OscineError(f"{path} lists row {outside[0]}, which is not among the clips to choose from; delete it")
    return sorted(places[row] for row in rows)


def _alike(seen: View, clips: Sequence[int]) -> bool:
    """Tell whether all clips have the same labels, so that a probe has nothing to tell apart."""
    return len(np.unique(seen.labels[list(clips)], axis=0)) < 2


def count_labels(seen: View, labelled: Sequence[int]) -> np.ndarray:  # [classes]
    """Count the labelled clips of every class."""
    labels = seen.labels[list(labelled)]
    return labels.sum(0, dtype=int) if seen.several else np.bincount(labels, minlength=seen.classes)


def _fit(settings: SimulationSettings, seen: View, labelled: Sequence[int]) -> FittedLayer:
    clips = list(labelled)
    return fit_probe(
        settings.probe, seen.features[clips], seen.labels[clips], seen.classes, several=seen.several, C=settings.C
    )
