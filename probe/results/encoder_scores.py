"""Judge one frozen encoder by several probes, keep the judgements in a file, and compare encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features, Selection
from oscine.models.errors import OscineError
from oscine.models.hub.checksummed import load_checksummed, save_checksummed
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.fit.baselines import judge_vectors
from oscine.probe.fit.judge import Judgement, judge
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.probe import Needs
from oscine.probe.heads.registry import PROBES
from oscine.probe.metrics.metrics import Metrics
from oscine.probe.tasks.task import Task

LOGISTIC = "logistic regression"
NEEDS = Needs(layers=None, parts=(Selection.CLS, Selection.PATCHES))  # of all probes together
Judgements = dict[str, Judgement]  # by the probe's name


def judge_encoder(
    encoder: Encoder,
    features: Features,
    task: Task,
    *,
    probes: Mapping[str, Mapping[str, Any]],
    seed: int,
    progress: Callable[[str], ShowProgress] = lambda name: show_nothing,
) -> Judgements:
    """Judge by logistic regression on the mean patch of the last layer, then by every probe on all features.

    probes: by name, the class (`probe`), its settings (`head`) and those of its fit (`fit`). progress: of the fits of a
    probe, by its name.
    """
    judgements = {LOGISTIC: judge_vectors(features.patches[-1].mean((1, 2)), task)}
    for name, chosen in probes.items():
        make_probe = partial(PROBES[chosen["probe"]], encoder, len(task.classes), **chosen["head"])
        fit = FitSettings(**chosen["fit"], seed=seed)
        judgements[name] = judge(make_probe, features, task, fit, progress(name))
    return judgements


class EncoderScores(NamedTuple):
    """Judgements by probe, without the probes themselves, and the layer gates of a convex gated one, [fold, layer]."""

    judgements: Judgements
    gates: np.ndarray | None = None

    @classmethod
    def of(cls, judgements: Judgements) -> EncoderScores:
        probes = [probe for judgement in judgements.values() for probe in judgement.probes]
        gates = [probe.gate.detach().numpy() for probe in probes if isinstance(probe, ConvexGatedProbe)]
        return cls(judgements, np.stack(gates) if gates else None)


def write_encoder_scores(path: Path, made: EncoderScores) -> None:
    """Write a file, whole or not at all, with a checksum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        name: {
            "parts": judgement.parts,
            "metrics": [asdict(metrics) for metrics in judgement.metrics],
            "logits": judgement.logits,
            "steps": judgement.steps,
        }
        for name, judgement in made.judgements.items()
    }
    gates = None if made.gates is None else torch.from_numpy(made.gates)
    save_checksummed(path, {"judgements": content, "gates": gates})


def read_encoder_scores(path: Path) -> EncoderScores | None:
    """Read what was written; None where nothing is, or it is torn."""
    try:
        content = load_checksummed(path)
    except (FileNotFoundError, OscineError):
        return None
    judgements = {
        name: Judgement(
            kept["parts"],
            [Metrics(**metrics) for metrics in kept["metrics"]],
            logits=kept["logits"],
            steps=kept["steps"],
        )
        for name, kept in content["judgements"].items()
    }
    return EncoderScores(judgements, None if content["gates"] is None else content["gates"].numpy())


class Gain(NamedTuple):
    """Points of accuracy that one judgement is above another: mean and spread over folds, which are paired."""

    mean: float
    spread: float

    @property
    def verdict(self) -> str:
        """Say whether it exceeds its own spread."""
        return "better" if self.mean > self.spread else "worse" if self.mean < -self.spread else "no clear difference"

    def __str__(self) -> str:
        return f"{self.mean:+.1f} ± {self.spread:.1f}"


def gain(first: Judgement, second: Judgement) -> Gain:
    pairs = zip(first.metrics, second.metrics, strict=True)
    points = 100 * np.array([one.accuracy - other.accuracy for one, other in pairs])
    return Gain(float(points.mean()), float(points.std()))


def gives_one_answer(judgement: Judgement) -> bool:
    """Return whether every fold's clips were all taken for one class."""
    return all(len(logits.argmax(1).unique()) == 1 for logits in judgement.logits)


def best_pair(scores: Mapping[str, Judgements], rows: list[str]) -> tuple[str, float]:
    """Find the encoder and probe with the greatest mean accuracy, and that accuracy."""
    means = {f"{row}, {probe}": scores[row][probe].summary("accuracy")[0] for row in rows for probe in scores[row]}
    best = max(means, key=lambda pair: means[pair])
    return best, means[best]
