"""Calibration errors by hand, against torchmetrics, and as published; scalings that undo what was done to logits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics.functional.classification import binary_calibration_error

from oscine.models.errors import OscineError
from oscine.probe.metrics.calibration import STEEPEST, Scaling, calibration, fit_platt, fit_temperature, reliability

Fit = Callable[..., Scaling]
PUBLISHED = Path(__file__).resolve().parents[3].parent / "shared" / "golden" / "hsn_predictions.safetensors"


def drawn(rows: int = 4000, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Logits that mean exactly what they say, and targets that were drawn by them."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, classes, generator=draw) * 2 - 1
    return logits, (torch.rand(rows, classes, generator=draw) < logits.sigmoid()).long()


def test_errors_by_hand() -> None:
    # Two classes, two bins. First class: 0.2 and 0.4 for one positive of two, then 0.9 for a negative. Second: 0.6 for both.
    probabilities = torch.tensor([[0.2, 0.6], [0.4, 0.6], [0.9, 0.6]])
    targets = torch.tensor([[1, 1], [0, 1], [0, 0]])
    found = calibration(probabilities, targets, bins=2)
    first = (2 / 3 * 0.2, 1 / 3 * 0.9)  # under, over
    second = 2 / 3 - 0.6  # under
    assert found.marginal.under == pytest.approx((first[0] + second) / 2)
    assert found.marginal.over == pytest.approx(first[1] / 2)
    assert found.marginal.error == pytest.approx((sum(first) + second) / 2)
    assert found.marginal.signed == pytest.approx((first[1] - first[0] - second) / 2)
    assert found.marginal.worst == pytest.approx((0.9 + second) / 2)
    assert found.weighted.error == pytest.approx((sum(first) + 2 * second) / 3)
    # All pairs: 0.2 and 0.4 for one of two; 0.9 and three 0.6 for two of four.
    assert found.pooled.error == pytest.approx(1 / 3 * 0.2 + 2 / 3 * (2.7 / 4 - 0.5))
    assert found.pooled.signed == pytest.approx(-1 / 3 * 0.2 + 2 / 3 * (2.7 / 4 - 0.5))


def test_curves_hold_every_row_once_and_empty_bins_have_no_height() -> None:
    curves = reliability(torch.tensor([[0.0], [0.5], [0.7], [1.0]]), torch.tensor([[0], [1], [0], [1]]))
    assert curves.rows.tolist() == [[1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1]]  # edges belong to the bin above them
    torch.testing.assert_close(curves.confidence[0, [0, 5, 7, 10]], torch.tensor([0, 0.5, 0.7, 1]).double())
    assert curves.frequency[0, [0, 5, 7, 10]].tolist() == [0, 1, 0, 1]
    assert curves.confidence[0, 1].isnan()
    assert curves.frequency[0, 1].isnan()


def test_errors_of_one_class_are_those_of_torchmetrics() -> None:
    logits, targets = drawn(classes=1)
    probabilities = (1.5 * logits + 0.3).sigmoid()
    found = calibration(probabilities, targets)
    for ours, norm in ((found.marginal.error, "l1"), (found.marginal.worst, "max")):
        theirs = binary_calibration_error(probabilities[:, 0], targets[:, 0], n_bins=10, norm=norm)
        assert ours == pytest.approx(theirs.item(), abs=1e-6)


def test_the_signed_error_is_what_is_over_without_what_is_under() -> None:
    logits, targets = drawn()
    found = calibration((2 * logits).sigmoid(), targets)
    for average in (found.marginal, found.weighted, found.pooled):
        assert average.error == pytest.approx(average.over + average.under)
        assert average.signed == pytest.approx(average.over - average.under)
        assert abs(average.signed) <= average.error <= average.worst


def test_too_high_is_over_confident_and_too_low_is_under_confident() -> None:
    logits, targets = drawn()
    assert calibration((logits + 2).sigmoid(), targets).marginal.signed > 0.1
    assert calibration((logits - 2).sigmoid(), targets).marginal.signed < -0.1
    assert calibration(logits.sigmoid(), targets).marginal.error < 0.03


@pytest.mark.parametrize("per_class", [False, True])
def test_a_temperature_that_was_put_in_is_found(per_class: bool) -> None:
    logits, targets = drawn()
    scaling = fit_temperature(3 * logits, targets, per_class)
    assert scaling.scale.shape == ((3,) if per_class else (1,))
    torch.testing.assert_close(scaling.scale, torch.full_like(scaling.scale, 1 / 3), atol=0, rtol=0.1)
    assert not scaling.shift.any()


def test_a_slope_and_an_offset_of_every_class_are_found() -> None:
    logits, targets = drawn()
    slopes, offsets = torch.tensor([[0.5, 1.0, 2.0], [-1.0, 0.0, 1.0]]).double()
    scaling = fit_platt((logits - offsets) / slopes, targets, per_class=True)
    torch.testing.assert_close(scaling.scale, slopes, atol=0, rtol=0.1)
    torch.testing.assert_close(scaling.shift, offsets, atol=0.15, rtol=0)
    shared = fit_platt((logits - 1) / 2, targets)
    torch.testing.assert_close(torch.cat(shared), torch.tensor([2.0, 1.0]).double(), atol=0.15, rtol=0)


def test_single_labels_are_scaled_under_cross_entropy() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 4, generator=draw) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]
    scaling = fit_temperature(4 * logits, labels)
    torch.testing.assert_close(scaling.scale, torch.tensor([0.25]).double(), atol=0, rtol=0.1)


def test_a_class_without_positives_may_take_the_scaling_of_all() -> None:
    own, overall = Scaling(torch.tensor([2.0, 3.0]), torch.tensor([1.0, -9.0])), Scaling(torch.ones(1), torch.zeros(1))
    mixed = own.where_seen(torch.tensor([[1, 0], [0, 0]], dtype=torch.uint8), overall)
    assert mixed.scale.tolist() == [2, 1]
    assert mixed.shift.tolist() == [1, 0]
    assert mixed(torch.tensor([[1.0, 5.0]])).tolist() == [[3, 5]]


@pytest.mark.parametrize(
    ("probabilities", "targets", "message"),
    [
        (torch.full((2, 3), -1.0), torch.ones(2, 3), "run from -1 to -1, expected 0 to 1; give the sigmoid"),
        (torch.zeros(2, 3), torch.ones(2), "must agree"),
        (torch.zeros(2, 3), torch.full((2, 3), 0.5), "expected 0 or 1"),
    ],
)
def test_what_is_no_probability_gets_a_clear_line(probabilities: Tensor, targets: Tensor, message: str) -> None:
    with pytest.raises(OscineError, match=message) as caught:
        calibration(probabilities, targets)
    assert "\n" not in str(caught.value)


def synthetic() -> tuple[Tensor, Tensor]:
    """What a probe might say of 300 rows in five classes, the last of which never occurs: too sure, and askew by class."""
    draw = torch.Generator().manual_seed(0)
    targets = (torch.rand(300, 5, generator=draw) < torch.tensor([0.5, 0.3, 0.1, 0.03, 0.0])).long()
    logits = torch.randn(300, 5, generator=draw) * 3 + 2 * targets - torch.tensor([1.0, 0.0, 2.0, 4.0, 3.0])
    return logits, targets


def plain_errors(column: list[float], truth: list[int], bins: int = 10) -> dict[str, float]:
    """Of one class, bin by bin and row by row."""
    over = under = worst = 0.0
    for number in range(bins):
        # In whole numbers, so that no edge depends on rounding; a probability of 1 has a bin of its own.
        inside = [row for row, value in enumerate(column) if number <= value * bins < number + 1]
        if inside:
            gap = sum(column[row] - truth[row] for row in inside) / len(inside)
            over += max(gap, 0) * len(inside) / len(column)
            under += max(-gap, 0) * len(inside) / len(column)
            worst = max(worst, abs(gap))
    return {"error": over + under, "signed": over - under, "over": over, "under": under, "worst": worst}


def test_all_figures_of_a_small_set_are_those_of_a_plain_count() -> None:
    logits, targets = synthetic()
    probabilities = logits.sigmoid()
    found = calibration(probabilities, targets)
    classes = [plain_errors(probabilities[:, label].tolist(), targets[:, label].tolist()) for label in range(5)]
    pooled = plain_errors(probabilities.flatten().tolist(), targets.flatten().tolist())
    support = targets.sum(0).tolist()
    assert support[4] == 0
    for name in found.pooled._fields:
        values = [errors[name] for errors in classes]
        assert getattr(found.marginal, name) == pytest.approx(sum(values) / 5, abs=1e-9)
        weighted = sum(value * count for value, count in zip(values, support)) / sum(support)
        assert getattr(found.weighted, name) == pytest.approx(weighted, abs=1e-9)
        assert getattr(found.pooled, name) == pytest.approx(pooled[name], abs=1e-9)


def plain_scaling(logits: Tensor, targets: Tensor, slopes: bool, steps: int = 1000) -> tuple[float, float]:
    """Scale and shift after so many steps of Adam, as in arXiv 2511.08261: Platt's, or a temperature's alone."""
    z, y = logits.double().numpy(), targets.numpy()
    learnt, first, second = np.zeros(2), np.zeros(2), np.zeros(2)  # logarithm of the slope or of the temperature; shift
    for step in range(1, steps + 1):
        scale = np.exp(learnt[0]) if slopes else 1 / (np.exp(learnt[0]) + 1e-6)
        wrong = 1 / (1 + np.exp(-(z * scale + learnt[1]))) - y
        inner = scale if slopes else -np.exp(learnt[0]) * scale**2
        gradient = np.array([(wrong * z).mean() * inner, wrong.mean() * slopes])
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        learnt -= 1e-3 * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return float(np.exp(learnt[0]) if slopes else 1 / (np.exp(learnt[0]) + 1e-6)), float(learnt[1])


def losses(scaling: Scaling, logits: Tensor, targets: Tensor) -> Tensor:  # [classes]
    return binary_cross_entropy_with_logits(scaling(logits.double()), targets.double(), reduction="none").mean(0)


@pytest.mark.parametrize("slopes", [False, True])
def test_no_other_scaling_of_a_small_set_has_less_loss(slopes: bool) -> None:
    logits, targets = synthetic()
    fit = fit_platt if slopes else fit_temperature
    for per_class, over in ((False, torch.mean), (True, torch.clone)):
        least = over(losses(fit(logits, targets, per_class), logits, targets))
        for scale in torch.logspace(-2, 1, 40):
            for shift in torch.linspace(-8, 4, 40) if slopes else torch.zeros(1):
                assert (least <= over(losses(Scaling(scale[None], shift[None]), logits, targets)) + 1e-6).all()


@pytest.mark.parametrize("factor", [0.05, 0.2, 1.0, 5.0, 20.0])
@pytest.mark.parametrize("fit", [fit_platt, fit_temperature])
def test_logits_may_be_too_sure_by_any_factor(fit: Fit, factor: float) -> None:
    logits, targets = drawn()
    right, wrong = fit(logits, targets), fit(factor * logits, targets)
    torch.testing.assert_close(wrong.scale * factor, right.scale, rtol=1e-4, atol=0)
    torch.testing.assert_close(wrong.shift, right.shift, rtol=0, atol=1e-4)
    labels = targets.argmax(1)
    single, twice = fit(logits, labels, True), fit(factor * logits, labels, True)
    torch.testing.assert_close(twice.scale * factor, single.scale, rtol=1e-3, atol=0)


def test_positives_that_a_threshold_parts_from_negatives_have_a_steep_slope_with_an_end() -> None:
    logits, targets = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]), torch.tensor([[0], [0], [1], [1]])
    for per_class in (False, True):
        scaling = fit_platt(logits, targets, per_class)
        assert scaling.scale.item() == pytest.approx(STEEPEST / logits.std(correction=0).item(), rel=1e-3)
        assert ((scaling(logits) > 0) == targets.bool()).all()
    turned = fit_platt(-logits, targets)
    assert 0 < turned.scale.item() < 1e-3  # rows keep their order
    assert turned(logits).sigmoid().flatten().tolist() == pytest.approx([0.5] * 4, abs=1e-3)
    same = fit_platt(torch.full((4, 1), 3.0), targets[[0, 1, 2, 0]])
    assert same(torch.full((1, 1), 3.0)).sigmoid().item() == pytest.approx(0.25, abs=1e-4)
    never = fit_platt(logits, torch.zeros_like(targets), per_class=True)
    assert torch.cat(never).isfinite().all()


def hard() -> tuple[Tensor, Tensor]:
    """Classes that are hard to fit: parted by a threshold, all but one so, the wrong way round, all, none, all alike."""
    draw = torch.Generator().manual_seed(1)
    logits, targets = torch.randn(60, 10, generator=draw) * 2, torch.zeros(60, 10, dtype=torch.uint8)
    targets[:, 0] = logits[:, 0] > 0.5
    targets[:, 1] = logits[:, 1] > 0.5
    targets[logits[:, 1].argmin(), 1] = 1
    targets[:, 2] = logits[:, 2] < 0.5
    targets[:, 3] = 1
    targets[:7, 5], logits[:, 5] = 1, 300.0
    targets[:, 6], logits[0, 6] = logits[:, 6] > 1, 1e4
    targets[3, 7] = 1
    targets[:, 8] = torch.rand(60, generator=draw) < 0.5
    logits[:, 9], targets[:, 9] = logits[:, 9] * 1e-6 - 20, logits[:, 9] > 0
    return logits, targets


@pytest.mark.parametrize("fit", [fit_platt, fit_temperature])
def test_classes_that_are_fitted_at_once_have_no_more_loss_than_each_alone(fit: Fit) -> None:
    logits, targets = (torch.cat(both, 1) for both in zip(hard(), synthetic_rows(60), strict=True))
    together = losses(fit(logits, targets, True), logits, targets)
    for column in range(logits.shape[1]):
        one = logits[:, [column]], targets[:, [column]]
        alone = losses(fit(*one), *one).item()  # by another method
        assert together[column].item() <= alone * (1 + 1e-6) + 1e-9, column


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("offset", [-1e4, 5e5, 1e8])
def test_the_least_loss_is_found_however_far_from_zero_the_logits_are(per_class: bool, offset: float) -> None:
    logits, targets = (both.double() for both in drawn(1000))
    near, far = (fit_platt(values, targets, per_class) for values in (logits, logits + offset))
    torch.testing.assert_close(far.scale, near.scale, rtol=1e-6, atol=0)
    torch.testing.assert_close(far.shift, near.shift - far.scale * offset, rtol=1e-6, atol=0)
    plain = minimize(
        lambda numbers: losses(Scaling(*torch.from_numpy(numbers)), logits[:, :1], targets[:, :1]).item(), [1, 0]
    )
    alone = fit_platt(logits[:, :1] + offset, targets[:, :1], per_class)
    assert alone.scale.item() == pytest.approx(plain.x[0], rel=1e-4)


def test_logits_that_are_all_the_same_get_the_frequency_of_their_class() -> None:
    for logit in (0.1, -20 / 3, 1e6):  # whose mean, rounded, is another number
        scaling = fit_platt(torch.full((30, 1), logit, dtype=torch.float64), torch.eye(30)[:, :1], per_class=True)
        assert scaling(torch.full((1, 1), logit, dtype=torch.float64)).sigmoid().item() == pytest.approx(
            1 / 30, rel=0.1
        )


def synthetic_rows(rows: int) -> tuple[Tensor, Tensor]:
    logits, targets = synthetic()
    return logits[:rows], targets[:rows]


def test_thousands_of_classes_are_fitted_in_seconds() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 5000, generator=draw) * 2 - 4
    targets = (torch.rand(500, 5000, generator=draw) < logits.sigmoid()).to(torch.uint8)
    begun = time.monotonic()
    scaling = fit_platt(logits, targets, per_class=True)
    assert time.monotonic() - begun < 20, "one class after the other takes minutes"
    assert (losses(scaling, logits, targets) <= losses(Scaling(torch.ones(1), torch.zeros(1)), logits, targets)).all()


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published predictions stay beside the checkout")
def test_published_predictions_are_as_calibrated_as_published() -> None:
    """BirdSet's HSN test windows, by the figures of arXiv 2511.08261."""
    published = load_file(PUBLISHED)
    probabilities, targets = published["scores"].float(), published["targets"]
    found = calibration(probabilities, targets)
    assert round(found.marginal.error, 4) == 0.0229
    assert round(found.weighted.error, 4) == 0.1179
    assert round(found.pooled.error, 4) == 0.0226
    assert round(found.marginal.worst, 4) == 0.6144
    assert round(found.weighted.signed, 4) == -0.1178
    most = targets.sum(0).argsort(descending=True)
    top = [calibration(probabilities[:, most[:k]], targets[:, most[:k]]).marginal.error for k in (3, 5, 10, 21)]
    assert [round(error, 4) for error in top] == [0.1175, 0.0854, 0.0473, 0.0229]


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published predictions stay beside the checkout")
def test_scalings_of_the_first_ten_minutes_help_the_rest_as_much_as_published() -> None:
    published = load_file(PUBLISHED)
    logits, targets = torch.logit(published["scores"].float(), eps=1e-6), published["targets"]
    first, rest = slice(0, 120), slice(120, None)  # windows of 5 s

    def error(scaling: Scaling) -> float:
        return round(calibration(scaling(logits[rest]).sigmoid(), targets[rest]).weighted.error, 4)

    assert error(Scaling(torch.ones(1), torch.zeros(1))) == 0.1175
    figures = {(False, False): 0.1066, (False, True): 0.1015, (True, False): 0.1001, (True, True): 0.0793}
    for (slopes, per_class), figure in figures.items():
        # As published, after 1,000 steps of Adam, which are too few to arrive.
        columns = range(logits.shape[1]) if per_class else [slice(None)]
        published = [plain_scaling(logits[first][:, at], targets[first][:, at], slopes) for at in columns]
        assert error(Scaling(*(torch.tensor(numbers).float() for numbers in zip(*published, strict=True)))) == figure
        ours = (fit_platt if slopes else fit_temperature)(logits[first], targets[first], per_class)
        assert error(ours) < figure
