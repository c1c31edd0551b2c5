"""Score vectors without a probe: log-mel statistics, single layers; logistic regression and nearest neighbours."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import normalize

from oscine.models.audio.load import one_clip
from oscine.models.encoders.base.features import Selection
from oscine.models.encoders.frontends.mel import KaldiFbank
from oscine.models.errors import OscineError
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.fit.judge import FeatureSource, Judgement, score
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import LabelledClips, Task, as_columns, read_batches

SAMPLE_RATE = 32_000  # Hz; keeps what birds and most recorders reach
ALL_LAYERS = Needs(layers=None, parts=(Selection.CLS, Selection.MEAN))
NEIGHBOURS = 20  # as in arXiv 2104.14294
TEMPERATURE = 0.07  # of the neighbours' votes, as in arXiv 1805.01978
CHUNK = 1024  # rows that are compared with all others at once


def log_mel_statistics(
    task: Task, seconds: float, batch_size: int = 16, *, progress: ShowProgress = show_nothing
) -> Tensor:  # [rows, 2 * mel]
    """Compute mean and standard deviation over time of every log mel band, for every row: the floor under every encoder."""
    fbank = KaldiFbank(SAMPLE_RATE)
    clips = LabelledClips(task.rows, SAMPLE_RATE, seconds)
    found = []
    for number, batch in enumerate(read_batches(clips, batch_size), 1):
        mel = fbank(torch.stack([one_clip(waveform, clips.samples) for waveform in batch]))
        found.append(torch.cat([mel.mean(1), mel.std(1)], dim=1))
        progress(min(number * batch_size, len(clips)), len(clips))
    return torch.cat(found)


def layer_scores(features: FeatureSource, task: Task) -> dict[str, np.ndarray]:
    """Score every layer alone, [part, layer], by its CLS ("CLS") and by its mean patch ("mean patch"), see `judge_vectors`.

    Scores are the metric of the task's kind. features: as `ALL_LAYERS` needs them, or more; two vectors a layer and row are
    held in memory.
    """
    taken = features.take(torch.arange(len(task.rows)))
    if not taken.cls.shape[-1] or not taken.patches.shape[2]:
        raise OscineError(
            "features without CLS or without patches; encode with the needs ALL_LAYERS of oscine.probe.fit.baselines"
        )
    held, found = ALL_LAYERS.take(taken), {}
    for name, layers in {"CLS": held.cls, "mean patch": held.patches[:, :, 0, 0]}.items():
        judged = [judge_vectors(layer.float(), task).metrics for layer in layers]
        found[name] = np.array([[getattr(part, task.kind.metric) for part in parts] for parts in judged]).T
    return found


def judge_vectors(vectors: Tensor, task: Task) -> Judgement:
    """Score logistic regression on one standardised vector a row, [rows, dim], on every part of a task.

    Where a row may have several classes, each class has a regression of its own.
    """
    if task.kind is not TaskKind.SINGLE:
        return judge_by(logistic, vectors, task)
    for part in task.parts:
        if len(task.targets[part.train].unique()) < 2:
            raise OscineError(
                f"all rows to learn from for {part.name!r} have the same label; logistic regression needs two"
            )
    return judge_by(softmax_regression, vectors, task)


def judge_by(answer: Callable[[Tensor, Tensor, Tensor], Tensor], vectors: Tensor, task: Task) -> Judgement:
    """Standardise by the rows to learn from and score the answers for the others, part by part.

    answer: makes of standardised vectors to learn from, [rows, dim], their targets, [rows, classes] of 0 and 1, and other
    vectors a score of every class, [other rows, classes], such as `neighbours`. vectors [rows, dim].
    """
    targets, judgement = as_columns(task.targets, len(task.classes)), Judgement([part.name for part in task.parts], [])
    for part in task.parts:
        scaler = StandardScaler().fit(vectors[part.train].numpy())
        train, test = (torch.from_numpy(scaler.transform(vectors[rows].numpy())) for rows in (part.train, part.test))
        judgement.logits.append(answer(train, targets[part.train].to(train.dtype), test))
        judgement.metrics.append(score(judgement.logits[-1], task.targets[part.test]))
    return judgement


def neighbours(train: Tensor, targets: Tensor, test: Tensor) -> Tensor:  # [test rows, classes]
    """Let the nearest rows by cosine vote, the nearer the more. Arguments as for `judge_by`."""
    train = normalize(train)
    shares = []
    for rows in normalize(test).split(CHUNK):
        nearest = (rows @ train.T).topk(min(NEIGHBOURS, len(train)))
        votes = (nearest.values / TEMPERATURE).softmax(1)
        shares.append(torch.einsum("rn,rnc->rc", votes, targets[nearest.indices]))
    return torch.cat(shares)


def logistic(train: Tensor, targets: Tensor, test: Tensor) -> Tensor:  # [test rows, classes]
    """Compute the probability of every class by a logistic regression of its own. Arguments as for `judge_by`."""
    model = OneVsRestClassifier(LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Label .* is present in all training examples")  # or in none: it is constant
        model.fit(train.numpy(), targets.int().numpy())
    return torch.from_numpy(model.predict_proba(test.numpy()))


def softmax_regression(train: Tensor, targets: Tensor, test: Tensor) -> Tensor:  # [test rows, classes]
    """Compute log-probabilities by one logistic regression, next to nothing for classes that no row to learn from has.

    Arguments as for `judge_by`, of which a row has one class.
    """
    model = LogisticRegression(max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # separable training rows: more steps change no score
        model.fit(train.numpy(), targets.argmax(1).numpy())
    logits = torch.full((len(test), targets.shape[1]), -1e9, dtype=torch.float64)
    with np.errstate(divide="ignore"):  # a probability of 0, whose logarithm is clamped
        found = torch.from_numpy(model.predict_log_proba(test.numpy())).double()
    logits[:, model.classes_] = found.clamp(min=-1e9)
    return logits
