"""How good a probe's logits are: accuracy, average precision, AUROC, and what had to be left out to say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.models.errors import OscineError


@dataclass(frozen=True)
class Metrics:
    """Scores in [0, 1]; every mean over classes weighs each class the same.

    accuracy   share of rows whose best class is (one of) theirs; rows without a label are left out
    map        mean average precision; a class without positives counts 0, as in BAT's tables
    cmap       the same without such classes, as in Bird-MAE's and BirdSet's tables
    auroc      mean area under the ROC curve of the classes with positives and negatives; NaN if there are none
    unlabelled_rows, classes_without_positives, classes_without_auroc: how many were left out of accuracy, cmap, auroc
    """

    accuracy: float
    map: float
    cmap: float
    auroc: float
    rows: int
    classes: int
    unlabelled_rows: int
    classes_without_positives: int
    classes_without_auroc: int


def single_label_metrics(logits: Tensor, labels: Tensor) -> Metrics:
    """One class a row. logits [rows, classes], of which the softmax is scored; labels [rows] as class numbers.

    Log-probabilities are logits too.
    """
    _check_logits(logits)
    rows, classes = logits.shape
    if labels.shape != (rows,) or labels.is_floating_point():
        raise OscineError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}, expected class numbers of shape ({rows},)"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise OscineError(f"labels run from {labels.min()} to {labels.max()}, the logits know 0 to {classes - 1}")
    return _metrics(logits.double().softmax(1), one_hot(labels.long(), classes))


def multi_label_metrics(logits: Tensor, targets: Tensor) -> Metrics:
    """Any number of classes a row. logits and targets [rows, classes], targets 0 or 1.

    Only the order of the logits counts. Frame-wise ones are flattened to rows first.
    """
    _check_logits(logits)
    _check_targets(logits, targets)
    return _metrics(logits, targets)


def average_precisions(scores: Tensor, targets: Tensor) -> Tensor:  # [classes]
    """Average precision of every class; NaN without positives, where torchmetrics and scikit-learn would say 0."""
    return _per_class(average_precision_score, scores, targets, defined=targets.any(0))


def aurocs(scores: Tensor, targets: Tensor) -> Tensor:  # [classes]
    """Area under the ROC curve of every class; NaN without positives or without negatives."""
    return _per_class(roc_auc_score, scores, targets, defined=targets.any(0) & ~targets.all(0))


def _metrics(scores: Tensor, targets: Tensor) -> Metrics:
    scores, targets = scores.detach().cpu().double(), targets.detach().cpu().bool()
    labelled = targets.any(1)
    if not labelled.any():
        raise OscineError(f"none of {len(targets)} rows has a label, so nothing can be scored; check the label column")
    hits = targets.gather(1, scores.argmax(1, keepdim=True))[labelled]
    precisions, areas = average_precisions(scores, targets), aurocs(scores, targets)
    return Metrics(
        accuracy=hits.double().mean().item(),
        map=precisions.nan_to_num(0.0).mean().item(),
        cmap=precisions.nanmean().item(),
        auroc=areas.nanmean().item(),
        rows=len(targets),
        classes=targets.shape[1],
        unlabelled_rows=int((~labelled).sum()),
        classes_without_positives=int(precisions.isnan().sum()),
        classes_without_auroc=int(areas.isnan().sum()),
    )


def _per_class(score: Callable[..., float], scores: Tensor, targets: Tensor, defined: Tensor) -> Tensor:
    values = torch.full(defined.shape, torch.nan, dtype=torch.float64)
    for column in defined.nonzero().flatten().tolist():
        values[column] = score(targets[:, column].numpy(), scores[:, column].numpy())
    return values


def _check_logits(logits: Tensor) -> None:
    if logits.ndim != 2 or 0 in logits.shape:
        raise OscineError(
            f"logits have shape {tuple(logits.shape)}, expected [rows, classes] with at least one of each"
        )
    if not logits.isfinite().all():
        bad = int((~logits.isfinite()).any(1).sum())
        raise OscineError(
            f"logits of {bad} of {len(logits)} rows are not finite; the fit diverged, lower the learning rate"
        )


def _check_targets(logits: Tensor, targets: Tensor) -> None:
    if targets.shape != logits.shape:
        raise OscineError(
            f"targets have shape {tuple(targets.shape)}, the logits {tuple(logits.shape)}; they must agree"
        )
    if not ((targets == 0) | (targets == 1)).all():
        raise OscineError(
            f"targets run from {targets.min():g} to {targets.max():g}, expected 0 or 1; round soft labels"
        )
