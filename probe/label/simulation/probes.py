"""Fit the probe of a simulation anew to the labels bought so far, and score it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.special import expit, logit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import recall_score
from sklearn.neural_network import MLPClassifier

from oscine.probe.fit.last_map import NEVER, fit_with_intercept
from oscine.probe.metrics.metrics import multi_label_metrics, single_label_metrics

EPOCHS, RATE = 10, 1e-3  # of two layers, with Adam: BioDCASE 2026, task 4
BATCH = 32  # of which nothing was published
SCORES = ("balanced_accuracy", "accuracy", "cmap", "auroc", "f1", "micro_f1")


@dataclass(frozen=True)
class FittedLayer:
    """What a probe has learnt. weight [classes, dim] and bias [classes]: None of a probe that has more than one map."""

    logits: Callable[[np.ndarray], np.ndarray]
    several: bool
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None

    def probabilities(self, features: np.ndarray) -> np.ndarray:  # [clips, classes]
        logits = self.logits(features)
        return expit(logits) if self.several else softmax(logits, axis=1)


def fit_probe(
    kind: str, features: np.ndarray, labels: np.ndarray, classes: int, *, several: bool, C: float = 1.0
) -> FittedLayer:
    """Fit a probe of one of the kinds of `FITS`. features [clips, dim]; labels [clips] class numbers, or [clips, classes].

    Where clips have one class each, those that no labelled clip has get a probability of 0. C: of logistic regression.
    """
    if several or len(seen := np.unique(labels)) > 1:
        return FITS[kind](features, labels, classes, several, C)
    bias, weight = np.where(np.arange(classes) == seen[0], 0.0, NEVER), np.zeros((classes, features.shape[1]))
    shown = (weight, bias) if kind == "logistic" else ()  # two layers show nothing, with more classes neither
    return FittedLayer(lambda others: np.tile(bias, (len(others), 1)), several, *shown)


def _fit_logistic(features: np.ndarray, labels: np.ndarray, classes: int, several: bool, C: float) -> FittedLayer:
    """Fit logistic regression: a softmax of the classes seen so far, or with several labels a sigmoid a class."""
    targets = labels.astype(np.float64) if several else np.eye(classes)[labels]
    weight, bias = fit_with_intercept(features, targets, 1 / C, several=several)
    return FittedLayer(lambda others: others @ weight.T + bias, several, weight, bias)


def _fit_two_layers(features: np.ndarray, labels: np.ndarray, classes: int, several: bool, C: float) -> FittedLayer:
    """Fit a layer of the features' width with ReLU, and one of the classes, in a few epochs; it has no C."""
    model = MLPClassifier((features.shape[1],), alpha=0.0, learning_rate_init=RATE, max_iter=EPOCHS, random_state=0)
    model.set_params(batch_size=min(BATCH, len(features)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so few epochs are meant
        model.fit(features, labels[:, 0] if several and classes == 1 else labels)

    def logits(others: np.ndarray) -> np.ndarray:
        found = np.asarray(model.predict_proba(others))
        with np.errstate(divide="ignore"):
            if several:
                return logit(found[:, -classes:]).clip(NEVER, -NEVER)  # of a single class, absence comes first
            every = np.full((len(others), classes), NEVER)
            every[:, model.classes_] = np.log(found).clip(NEVER)
            return every

    return FittedLayer(logits, several)


FITS = {"logistic": _fit_logistic, "mlp": _fit_two_layers}


def score(logits: np.ndarray, labels: np.ndarray, several: bool) -> dict[str, float]:
    """Score logits of the judged clips [judged, classes] by all of `SCORES` that the kind of task has."""
    measure = multi_label_metrics if several else single_label_metrics
    found = asdict(measure(torch.from_numpy(logits), torch.from_numpy(labels)))
    if not several:
        there = np.unique(labels)
        found["balanced_accuracy"] = recall_score(labels, logits.argmax(1), labels=there, average="macro")
    return {name: float(found[name]) for name in SCORES if name in found}
