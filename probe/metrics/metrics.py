"""Score a probe's logits: accuracy, average precision, AUROC, F1; and count what had to be left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.tasks.task import as_columns

LARGE = 10**7  # logits that take some seconds to score; 10**8 take half a minute
BLOCK, COLUMNS = 1000, 64  # rows whose classes are put in order at once; classes whose rows are


@dataclass(frozen=True)
class Metrics:
    """Scores in [0, 1]; every mean over classes weighs each class the same.

    accuracy   share of rows whose best class is (one of) theirs; rows without a label are left out
    map        mean average precision; a class without positives counts 0, as in BAT's tables
    cmap       the same without such classes, as in Bird-MAE's and BirdSet's tables
    auroc      mean area under the ROC curve of the classes with positives and negatives; NaN if there are none
    f1         mean F1 of what is predicted: the best class of a row, or every class above a probability of a half; a class
               that neither occurs nor is predicted counts 0, as in BAT's tables
    micro_map, micro_f1   of all pairs of row and class as one binary problem
    unlabelled_rows, classes_without_positives, classes_without_auroc: how many were left out of accuracy, cmap, auroc
    """

    accuracy: float
    map: float
    cmap: float
    auroc: float
    f1: float
    micro_map: float
    micro_f1: float
    rows: int
    classes: int
    unlabelled_rows: int
    classes_without_positives: int
    classes_without_auroc: int


def single_label_metrics(logits: Tensor, labels: Tensor, progress: ShowProgress = show_nothing) -> Metrics:
    """Score logits [rows, classes] of one class a row, of which the softmax counts; labels [rows] as class numbers.

    Log-probabilities are logits too.
    """
    check_logits(logits)
    rows, classes = logits.shape
    if labels.shape != (rows,) or labels.is_floating_point():
        raise OscineError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}, expected class numbers of shape ({rows},)"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise OscineError(f"labels run from {labels.min()} to {labels.max()}, the logits know 0 to {classes - 1}")
    targets, predicted = (as_columns(numbers.long(), classes) for numbers in (labels, logits.argmax(1)))
    return _metrics(logits.double().softmax(1), targets, predicted, progress)


def multi_label_metrics(logits: Tensor, targets: Tensor, progress: ShowProgress = show_nothing) -> Metrics:
    """Score logits of any number of classes a row. logits and targets [rows, classes], targets 0 or 1.

    Frame-wise ones are flattened to rows first. Only the order of the logits counts, but for F1.
    """
    check_logits(logits)
    check_targets(logits, targets)
    return _metrics(logits, targets, logits > 0, progress)


def average_precisions(scores: Tensor, targets: Tensor) -> Tensor:  # [classes]
    """Compute average precision of every class; NaN without positives, where torchmetrics and scikit-learn would say 0."""
    return _per_class([_average_precision], scores, targets)[0]


def aurocs(scores: Tensor, targets: Tensor) -> Tensor:  # [classes]
    """Compute the area under the ROC curve of every class; NaN without positives or without negatives."""
    return _per_class([_auroc], scores, targets)[0]


def _average_precision(scores: np.ndarray, hits: np.ndarray) -> float:
    """Average over the positives the precision among the rows that score as high as each.

    scores [rows] and those of positives, sorted both. A class's positives are mostly few: they alone are looked up.
    """
    if not len(hits):
        return math.nan
    rows = len(scores) - np.searchsorted(scores, hits)
    return float(np.mean((len(hits) - np.searchsorted(hits, hits)) / rows))


def _auroc(scores: np.ndarray, hits: np.ndarray) -> float:
    """Return the share of the negatives that a positive beats, ties half. Arguments as for `_average_precision`."""
    if len(hits) in (0, len(scores)):
        return math.nan
    below, up_to = (
        np.searchsorted(scores, hits, side) - np.searchsorted(hits, hits, side) for side in ("left", "right")
    )
    return float(np.mean((below + up_to) / 2) / (len(scores) - len(hits)))


def f1_scores(predicted: Tensor, targets: Tensor) -> Tensor:  # [classes]
    """Compute F1 of every class; NaN if it neither occurs nor is predicted.

    predicted and targets [rows, classes], 0 or 1.
    """
    predicted, targets = predicted.bool(), targets.bool()
    return 2 * (predicted & targets).sum(0) / (predicted.sum(0) + targets.sum(0)).double()


def top_accuracy(scores: Tensor, targets: Tensor, best: int = 1) -> float:
    """Return the share of the rows with a label that have one of theirs among their best classes; NaN without such rows.

    scores and targets [rows, classes]. Of classes that tie, the first counts as the best.
    """
    found = []
    for values, truth in zip(scores.split(BLOCK), targets.split(BLOCK), strict=True):  # an order takes 8 bytes a number
        chosen = values.argsort(dim=1, descending=True, stable=True)[:, :best]
        found.append(truth.bool().gather(1, chosen).any(1)[truth.bool().any(1)])
    return torch.cat(found).double().mean().item()


def _metrics(scores: Tensor, targets: Tensor, predicted: Tensor, progress: ShowProgress) -> Metrics:
    scores, targets, predicted = scores.detach().cpu().double(), targets.detach().cpu().bool(), predicted.cpu()
    labelled = targets.any(1)
    if not labelled.any():
        raise OscineError(f"none of {len(targets)} rows has a label, so nothing can be scored; check the label column")
    classes = targets.shape[1]
    # Of the time, each class by itself takes a quarter, the best classes of the rows another, all pairs as one the rest.
    precisions, areas = _per_class(
        [_average_precision, _auroc], scores, targets, lambda done, _: progress(done, 4 * classes)
    )
    accuracy = top_accuracy(scores, targets)
    progress(2 * classes, 4 * classes)
    micro_map = average_precisions(scores.reshape(-1, 1), targets.reshape(-1, 1)).item()
    progress(4 * classes, 4 * classes)
    return Metrics(
        accuracy=accuracy,
        map=precisions.nan_to_num(0.0).mean().item(),
        cmap=precisions.nanmean().item(),
        auroc=areas.nanmean().item(),
        f1=f1_scores(predicted, targets).nan_to_num(0.0).mean().item(),
        micro_map=micro_map,
        micro_f1=f1_scores(predicted.reshape(-1, 1), targets.reshape(-1, 1)).item(),
        rows=len(targets),
        classes=classes,
        unlabelled_rows=int((~labelled).sum()),
        classes_without_positives=int(precisions.isnan().sum()),
        classes_without_auroc=int(areas.isnan().sum()),
    )


def _per_class(
    measures: Sequence[Callable[[np.ndarray, np.ndarray], float]],
    scores: Tensor,
    targets: Tensor,
    progress: ShowProgress = show_nothing,
) -> Tensor:  # [measures, classes]
    """Measure every class, each of its rows in order and its positives in order. progress: of the classes."""
    truth, classes = targets.bool(), targets.shape[1]
    values = torch.empty(len(measures), classes, dtype=torch.float64)
    for columns in torch.arange(classes).split(COLUMNS):  # a column by itself lies all over the memory
        block = zip(*(table[:, columns].T.contiguous().numpy() for table in (scores, truth)), strict=True)
        for column, (own, hits) in zip(columns.tolist(), block, strict=True):
            ordered = np.sort(own), np.sort(own[hits])
            values[:, column] = torch.tensor([measure(*ordered) for measure in measures], dtype=torch.float64)
        progress(int(columns[-1]) + 1, classes)
    return values


def check_logits(logits: Tensor) -> None:
    if logits.ndim != 2 or 0 in logits.shape:
        raise OscineError(
            f"logits have shape {tuple(logits.shape)}, expected [rows, classes] with at least one of each"
        )
    if not logits.isfinite().all():
        bad = int((~logits.isfinite()).any(1).sum())
        raise OscineError(
            f"logits of {bad} of {len(logits)} rows are not finite; the fit diverged, lower the learning rate"
        )


def check_targets(logits: Tensor, targets: Tensor) -> None:
    if targets.shape != logits.shape:
        raise OscineError(
            f"targets have shape {tuple(targets.shape)}, the logits {tuple(logits.shape)}; they must agree"
        )
    if not ((targets == 0) | (targets == 1)).all():
        raise OscineError(
            f"targets run from {targets.min():g} to {targets.max():g}, expected 0 or 1; round soft labels"
        )
