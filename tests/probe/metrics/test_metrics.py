from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from torch import Tensor
from torchmetrics.functional.classification import multilabel_auroc, multilabel_average_precision

from oscine.models.errors import OscineError
from oscine.probe.metrics.metrics import (
    aurocs,
    average_precisions,
    f1_scores,
    multi_label_metrics,
    single_label_metrics,
    top_accuracy,
)

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
ROWS, CLASSES = 60, 5


def drawn() -> tuple[Tensor, Tensor]:
    """Logits with ties, and targets of which some rows are empty."""
    draw = torch.Generator().manual_seed(0)
    targets = (torch.rand(ROWS, CLASSES, generator=draw) < 0.25).long()
    logits = (torch.randn(ROWS, CLASSES, generator=draw) + targets).mul(4).round() / 4
    return logits, targets


def test_average_precision_is_that_of_scikit_learn_and_torchmetrics() -> None:
    logits, targets = drawn()
    ours = average_precisions(logits, targets)
    for column in range(CLASSES):
        expected = average_precision_score(targets[:, column].numpy(), logits[:, column].numpy())
        assert ours[column].item() == pytest.approx(expected, abs=1e-12)
    theirs = multilabel_average_precision(logits, targets, CLASSES, average=None)
    torch.testing.assert_close(ours.float(), theirs, atol=1e-6, rtol=0)


def test_auroc_is_that_of_scikit_learn_and_torchmetrics() -> None:
    logits, targets = drawn()
    ours = aurocs(logits, targets)
    for column in range(CLASSES):
        expected = roc_auc_score(targets[:, column].numpy(), logits[:, column].numpy())
        assert ours[column].item() == pytest.approx(expected, abs=1e-12)
    theirs = multilabel_auroc(logits, targets, CLASSES, average=None)
    torch.testing.assert_close(ours.float(), theirs, atol=1e-6, rtol=0)


def test_average_precision_by_hand() -> None:
    logits, targets = torch.tensor([[4.0], [3.0], [2.0], [1.0]]), torch.tensor([[1], [0], [1], [0]])
    assert average_precisions(logits, targets).item() == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert aurocs(logits, targets).item() == pytest.approx(3 / 4)


def test_classes_without_positives_are_left_out_of_cmap_and_counted() -> None:
    logits, targets = drawn()
    whole = multi_label_metrics(logits, targets)
    absent = multi_label_metrics(
        torch.cat([logits, logits[:, :1]], dim=1), torch.cat([targets, torch.zeros(ROWS, 1).long()], dim=1)
    )
    assert absent.cmap == pytest.approx(whole.cmap)
    assert absent.auroc == pytest.approx(whole.auroc)
    assert absent.map == pytest.approx(whole.cmap * CLASSES / (CLASSES + 1))
    assert (absent.classes, absent.classes_without_positives, absent.classes_without_auroc) == (CLASSES + 1, 1, 1)
    assert (whole.classes, whole.classes_without_positives, whole.classes_without_auroc) == (CLASSES, 0, 0)
    assert whole.map == whole.cmap


def test_a_class_without_negatives_has_no_auroc() -> None:
    logits, targets = drawn()
    targets[:, 2] = 1
    found = multi_label_metrics(logits, targets)
    assert found.classes_without_positives == 0
    assert found.classes_without_auroc == 1
    assert found.auroc == pytest.approx(aurocs(logits, targets)[[0, 1, 3, 4]].mean().item())


def test_one_row_has_an_accuracy_and_no_auroc() -> None:
    found = single_label_metrics(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([1]))
    assert found.accuracy == 1
    assert math.isnan(found.auroc)
    assert found.classes_without_auroc == 3


def test_top_one_is_any_of_the_labels_and_rows_without_one_are_left_out() -> None:
    logits = torch.tensor([[3.0, 1, 0], [0, 3, 1], [0, 1, 3], [3, 0, 0]])
    targets = torch.tensor([[1, 1, 0], [1, 0, 1], [0, 0, 1], [0, 0, 0]])
    found = multi_label_metrics(logits, targets)
    assert found.accuracy == pytest.approx(2 / 3)
    assert (found.rows, found.unlabelled_rows) == (4, 1)


def test_single_labels_are_scored_by_their_softmax() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (40,), generator=draw)
    logits = torch.randn(40, 4, generator=draw)
    found = single_label_metrics(logits, labels)
    probabilities = logits.double().softmax(1).numpy()
    assert found.accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert found.map == pytest.approx(average_precision_score(labels.numpy(), probabilities, average="macro"))
    assert found.auroc == pytest.approx(roc_auc_score(labels.numpy(), probabilities, multi_class="ovr"))
    # A constant added to a row's logits is no information, and must not change the order between rows.
    shifted = single_label_metrics(logits + torch.randn(40, 1, generator=draw), labels)
    assert shifted.map == pytest.approx(found.map)
    assert shifted.auroc == pytest.approx(found.auroc)


def test_perfect_logits_score_one() -> None:
    _, targets = drawn()
    found = multi_label_metrics(10.0 * targets, targets)
    assert (found.accuracy, found.map, found.cmap, found.auroc) == (1, 1, 1, 1)


def test_f1_is_that_of_scikit_learn_at_a_probability_of_a_half() -> None:
    logits, targets = drawn()
    targets[:, 4], logits[:, 4] = 0, -1.0  # which neither occurs nor is predicted
    found = multi_label_metrics(logits, targets)
    predicted = logits.sigmoid().round().numpy()  # a half is rounded to 0
    assert found.f1 == pytest.approx(f1_score(targets.numpy(), predicted, average="macro", zero_division=0.0))
    assert found.micro_f1 == pytest.approx(f1_score(targets.numpy(), predicted, average="micro"))
    assert found.micro_map == pytest.approx(average_precision_score(targets.numpy(), logits.numpy(), average="micro"))
    assert f1_scores(torch.from_numpy(predicted), targets).isnan().tolist() == [False] * 4 + [True]


def test_f1_of_single_labels_is_that_of_the_best_class() -> None:
    draw = torch.Generator().manual_seed(0)
    labels, logits = torch.randint(4, (40,), generator=draw), torch.randn(40, 4, generator=draw)
    found = single_label_metrics(logits, labels)
    assert found.f1 == pytest.approx(f1_score(labels.numpy(), logits.argmax(1).numpy(), average="macro"))
    assert found.micro_f1 == pytest.approx(found.accuracy)


def test_any_of_the_best_classes_may_be_right() -> None:
    scores = torch.tensor([[3.0, 2, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1]])
    targets = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert [top_accuracy(scores, targets, best) for best in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_are_computed_in_full_precision(dtype: torch.dtype) -> None:
    logits, targets = drawn()  # quarters, which every dtype holds exactly
    assert multi_label_metrics(logits.to(dtype), targets.float()) == multi_label_metrics(logits, targets.bool())


def test_large_logits_in_half_precision_are_not_tied() -> None:
    logits = torch.tensor([[12.0], [11.0], [10.0]], dtype=torch.float16)  # the sigmoid of each is 1 in half precision
    targets = torch.tensor([[1], [0], [0]])
    assert multi_label_metrics(logits, targets).cmap == 1


@pytest.mark.skipif(not (SHARED / "golden").exists(), reason="the published predictions stay beside the checkout")
def test_published_predictions_get_their_published_figures() -> None:
    """BirdSet's HSN test windows."""
    published = load_file(SHARED / "golden" / "hsn_predictions.safetensors")
    found = multi_label_metrics(published["scores"], published["targets"])
    assert round(found.cmap, 4) == 0.4875
    assert round(found.auroc, 4) == 0.8886
    assert round(found.accuracy, 4) == 0.5107  # with ties going to the first class
    assert round(found.micro_map, 4) == 0.3945
    assert round(top_accuracy(published["scores"], published["targets"], 3), 4) == 0.6511  # 0.6509 with other ties
    frequent = average_precisions(published["scores"], published["targets"])[published["targets"].sum(0) >= 5]
    assert round(frequent.mean().item(), 4) == 0.5569
    assert found.rows - found.unlabelled_rows == 5377


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (torch.zeros(3), torch.zeros(3), r"logits have shape \(3,\), expected \[rows, classes\]"),
        (torch.zeros(0, 3), torch.zeros(0, 3), "at least one of each"),
        (torch.full((2, 3), torch.nan), torch.ones(2, 3), "2 of 2 rows are not finite"),
        (torch.zeros(2, 3), torch.zeros(2, 4), "must agree"),
        (torch.zeros(2, 3), torch.full((2, 3), 0.5), "expected 0 or 1"),
        (torch.zeros(2, 3), torch.zeros(2, 3), "none of 2 rows has a label"),
    ],
)
def test_what_cannot_be_scored_gets_a_clear_line(logits: Tensor, targets: Tensor, message: str) -> None:
    with pytest.raises(OscineError, match=message) as caught:
        multi_label_metrics(logits, targets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 3]), "labels run from 0 to 3, the logits know 0 to 2"),
        (torch.tensor([-1, 0]), "labels run from -1 to 0"),
        (torch.tensor([0]), r"expected class numbers of shape \(2,\)"),
        (torch.tensor([0.0, 1.0]), "labels are torch.float32"),
    ],
)
def test_labels_that_fit_no_class_get_a_clear_line(labels: Tensor, message: str) -> None:
    with pytest.raises(OscineError, match=message):
        single_label_metrics(torch.zeros(2, 3), labels)


def test_progress_of_scores_rises_to_its_end() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 200, generator=draw), torch.randint(200, (50,), generator=draw)
    said: list[tuple[int, int]] = []
    found = single_label_metrics(logits, labels, lambda done, total: said.append((done, total)))
    assert found == single_label_metrics(logits, labels)
    assert said == sorted(said)
    assert said[0][0] > 0
    assert said[-1] == (800, 800)
    assert len(said) > 4
