from __future__ import annotations

import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor

from oscine.models.errors import OscineError
from oscine.probe.metrics.decisions import best_thresholds
from oscine.probe.metrics.metrics import f1_scores


def drawn(seed: int = 0, rows: int = 40, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Scores with ties."""
    draw = torch.Generator().manual_seed(seed)
    targets = (torch.rand(rows, classes, generator=draw) < 0.3).long()
    return (torch.randn(rows, classes, generator=draw) + targets).mul(4).round() / 4, targets


def test_no_other_threshold_has_a_better_f1() -> None:
    scores, targets = drawn()
    found = f1_scores(scores > best_thresholds(scores, targets), targets)
    for column in range(scores.shape[1]):
        tried = [f1_score(targets[:, column], scores[:, column] >= value) for value in scores[:, column].unique()]
        assert found[column].item() == pytest.approx(max(tried))


def test_a_threshold_lies_midway_and_as_high_as_is_good() -> None:
    scores = torch.tensor([[5.0], [3.0], [2.0], [1.0]])
    assert best_thresholds(scores, torch.tensor([[1], [1], [0], [0]])).tolist() == [2.5]
    assert best_thresholds(scores, torch.tensor([[1], [0], [0], [1]])).tolist() == [4.0]  # F1 is 2/3 at 0, too
    assert 0.999 < best_thresholds(scores, torch.ones(4, 1)).item() < 1, "what is less likely than all of these is none"


def test_equal_scores_are_never_parted() -> None:
    scores = torch.tensor([[2.0], [1.0], [1.0], [0.0]])
    assert best_thresholds(scores, torch.tensor([[1], [1], [0], [0]])).tolist() == [0.5]


def test_a_class_without_positives_takes_the_threshold_of_all() -> None:
    scores, targets = drawn()
    targets[:, 2] = 0
    thresholds = best_thresholds(scores, targets)
    assert thresholds[2] == best_thresholds(scores.reshape(-1, 1), targets.reshape(-1, 1))[0]
    assert thresholds.isfinite().all()


def test_thresholds_follow_a_change_of_scale() -> None:
    scores, targets = drawn()
    torch.testing.assert_close(best_thresholds(3 * scores - 1, targets), 3 * best_thresholds(scores, targets) - 1)


def test_scores_without_targets_get_a_clear_line() -> None:
    with pytest.raises(OscineError, match="must agree"):
        best_thresholds(torch.zeros(3, 2), torch.zeros(3))
