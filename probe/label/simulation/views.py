"""Read what encoders say of the labelled clips, and show a seed its part: standardised by the clips to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from oscine.models.embed.table import read_made_by
from oscine.models.errors import OscineError
from oscine.models.progress import Bar
from oscine.probe.features.embedding_table import read_vectors
from oscine.probe.fit.baselines import log_mel_statistics
from oscine.probe.label.simulation.settings import LOG_MEL, SimulationSettings
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import Task


class Encoded(NamedTuple):
    """What one encoder says of every row of the task: vectors [rows, dim]; model: what made them."""

    vectors: np.ndarray
    model: str

    @property
    def fingerprint(self) -> str:
        return sha256(np.ascontiguousarray(self.vectors).tobytes()).hexdigest()[:16]


class View(NamedTuple):
    """What the runs of a seed see of one encoder.

    rows             [clips]: the numbers, in the task, of the clips to choose from, in no order
    features         [clips, dim]
    labels           [clips] class numbers, or [clips, classes] of 0 and 1
    judged_features  [judged, dim]: of the clips that scores are of, which no strategy sees
    judged_labels    [judged] or [judged, classes]
    """

    rows: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    judged_features: np.ndarray
    judged_labels: np.ndarray
    classes: int
    several: bool


def clip_seconds(settings: SimulationSettings) -> float:
    """Return the length of the clips that the first table is of."""
    return read_made_by(settings.embeddings[0])["clip_seconds"]


def read_encoders(settings: SimulationSettings, task: Task, bar: Bar) -> dict[str, Encoded]:
    """Read the vectors of every table, by the table's name, and compute those of log mel bands where they are asked for."""
    found = {}
    for path in settings.embeddings:
        vectors = read_vectors(path, task.rows, settings.vectors)
        found[path.stem] = Encoded(vectors, read_made_by(path)["model"] or "an encoder without a name")
    if settings.log_mel:
        vectors = log_mel_statistics(task, clip_seconds(settings), progress=bar.task("log mel bands")).numpy()
        found[LOG_MEL] = Encoded(vectors, "mean and spread of log mel bands")
    return found


def check_parts(settings: SimulationSettings, task: Task, encoders: Mapping[str, Encoded]) -> None:
    """Raise where a part of the task has too few clips for the labels, or an encoder too few numbers to keep."""
    for part in task.parts:
        clips = min(len(part.train), settings.unlabelled or len(part.train))
        if clips < settings.most_labels:
            left = (clips - settings.initial) // settings.batch
            remedy = f"--batches {left} at most" if left > 0 else "take fewer with --initial and --batch"
            raise OscineError(
                f"{part.name} has {clips} clips to choose from, and {settings.initial} with {settings.batches} batches of "
                f"{settings.batch} are {settings.most_labels}; {remedy}"
            )
        for name, encoded in encoders.items():
            most = min(clips - 1, encoded.vectors.shape[1])
            if settings.components and settings.components > most:
                raise OscineError(
                    f"{name} has {most} components at most in {clips} clips of {encoded.vectors.shape[1]} numbers, "
                    f"--components asks for {settings.components}"
                )


def view(settings: SimulationSettings, task: Task, vectors: np.ndarray, number: int) -> View:
    """Show a part of a task: features standardised, reduced and scaled by the clips to choose from. number: of the part.

    Clips are numbered at random: of equal ones strategies take the first, and tables are often sorted by class.
    """
    part, targets = task.parts[number], task.targets.numpy()
    rows, judged = np.random.default_rng(number).permutation(np.sort(part.train.numpy())), part.test.numpy()
    rows = rows[: settings.unlabelled]
    features, others = prepare(vectors[rows], vectors[judged], settings.components, settings.norm)
    return View(
        rows, features, targets[rows], others, targets[judged], len(task.classes), task.kind is not TaskKind.SINGLE
    )


def prepare(
    vectors: np.ndarray, others: np.ndarray, components: int | None, norm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Standardise vectors, keep their principal components, scale their mean length; do the same to others.

    Labels are not looked at. The probe's penalty and BAIT's prior are relative to the length, whatever the encoder's.
    """
    scaler = StandardScaler().fit(vectors.astype(np.float64))
    both = scaler.transform(vectors.astype(np.float64)), scaler.transform(others.astype(np.float64))
    if components:
        kept = PCA(components, svd_solver="covariance_eigh").fit(both[0])
        both = kept.transform(both[0]), kept.transform(both[1])
    length = np.linalg.norm(both[0], axis=1).mean()
    if not length:
        raise OscineError("all clips to choose from have the same features; nothing tells them apart")
    return both[0] * (norm / length), both[1] * (norm / length)
