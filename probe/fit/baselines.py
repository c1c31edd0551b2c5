"""The floor under every encoder: log-mel statistics of a clip and logistic regression, without any training before."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from oscine.models.audio.load import one_clip
from oscine.models.encoders.frontends.mel import KaldiFbank
from oscine.models.errors import OscineError
from oscine.probe.fit.judge import Judgement, score
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import LabelledClips, Task, read_batches

SAMPLE_RATE = 32_000  # Hz; keeps what birds and most recorders reach


def log_mel_statistics(task: Task, seconds: float, batch_size: int = 16) -> Tensor:  # [rows, 2 * mel]
    """Mean and standard deviation over time of every log mel band, of every row of a task."""
    fbank = KaldiFbank(SAMPLE_RATE)
    clips = LabelledClips(task.rows, SAMPLE_RATE, seconds)
    bands = [
        fbank(torch.stack([one_clip(waveform, clips.samples) for waveform in batch]))
        for batch in read_batches(clips, batch_size)
    ]
    return torch.cat([torch.cat([mel.mean(1), mel.std(1)], dim=1) for mel in bands])


def judge_vectors(vectors: Tensor, task: Task) -> Judgement:
    """Logistic regression on one standardised vector a row, [rows, dim], scored on every part of a single-label task."""
    if task.kind is not TaskKind.SINGLE:
        raise OscineError("logistic regression takes one label a row; this table has rows with none or several")
    judgement = Judgement([part.name for part in task.parts], [])
    for part in task.parts:
        if len(task.targets[part.train].unique()) < 2:
            raise OscineError(
                f"all rows to learn from for {part.name!r} have the same label; logistic regression needs two"
            )
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # separable training rows: more steps change no score
            model.fit(vectors[part.train].numpy(), task.targets[part.train].numpy())
        judgement.logits.append(log_shares(model, vectors[part.test], len(task.classes)))
        judgement.valid_logits.append(log_shares(model, vectors[part.valid], len(task.classes)))
        judgement.metrics.append(score(judgement.logits[-1], task.targets[part.test]))
    return judgement


def log_shares(model: Pipeline, vectors: Tensor, classes: int) -> Tensor:  # [rows, classes]
    """Log-probabilities, next to nothing for classes that the model has not met."""
    logits = torch.full((len(vectors), classes), -1e9, dtype=torch.float64)
    if len(vectors):
        with np.errstate(divide="ignore"):  # a probability of 0, whose logarithm is clamped
            found = torch.from_numpy(model.predict_log_proba(vectors.numpy())).double()
        logits[:, model.classes_] = found.clamp(min=-1e9)
    return logits
