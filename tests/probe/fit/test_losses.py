from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from oscine.models.errors import OscineError
from oscine.probe.fit.losses import (
    LOSSES,
    asymmetric_bat,
    asymmetric_bird_mae,
    binary_cross_entropy,
    cross_entropy,
)

MULTI_LABEL = [name for name in LOSSES if name != "cross_entropy"]
TARGETS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
LOGITS = torch.tensor([[0.3, -1.2, 2.5], [-4.0, 0.1, 1.7]])


def by_hand(logits: Tensor, targets: Tensor, gamma_negative: float, gamma_positive: float, clip: float) -> float:
    """Element by element, as the formula stands in the authors' code."""
    total = 0.0
    for logit, target in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        q = min(1 - p + clip, 1.0)
        likelihood = p * target + q * (1 - target)
        gamma = gamma_positive * target + gamma_negative * (1 - target)
        log_likelihood = target * math.log(max(p, 1e-8)) + (1 - target) * math.log(max(q, 1e-8))
        total -= (1 - likelihood) ** gamma * log_likelihood
    return total / logits.numel()


@pytest.mark.parametrize("targets", [TARGETS, 0.3 + 0.5 * TARGETS], ids=["hard", "soft"])
def test_asymmetric_losses_follow_their_formula(targets: Tensor) -> None:
    assert asymmetric_bat(LOGITS, targets).item() == pytest.approx(by_hand(LOGITS, targets, 1, 0, 0), rel=1e-6)
    assert asymmetric_bird_mae(LOGITS, targets).item() == pytest.approx(by_hand(LOGITS, targets, 4, 1, 0.05), rel=1e-6)


def test_no_gradient_flows_through_bats_weights() -> None:
    logits = LOGITS.clone().requires_grad_()
    asymmetric_bat(logits, TARGETS).backward()
    p = LOGITS.sigmoid()
    # Positives weigh 1 and negatives p, as constants: the gradient of cross entropy is p - y.
    expected = torch.where(TARGETS == 1, torch.ones(()), p) * (p - TARGETS) / LOGITS.numel()
    torch.testing.assert_close(logits.grad, expected)


def test_the_gradient_flows_through_bird_maes_weights() -> None:
    logits = LOGITS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: asymmetric_bird_mae(x, TARGETS), logits)
    assert not torch.autograd.gradcheck(lambda x: asymmetric_bat(x, TARGETS), logits, raise_exception=False)


def test_negatives_below_five_percent_cost_nothing() -> None:
    logits = torch.full((2, 3), -3.0, requires_grad=True)  # sigmoid(-3) = 0.047
    loss = asymmetric_bird_mae(logits, torch.zeros(2, 3))
    loss.backward()
    assert loss == 0
    torch.testing.assert_close(logits.grad, torch.zeros(2, 3), atol=0, rtol=0)


def test_cross_entropies_are_those_of_torch() -> None:
    labels = torch.tensor([2, 0])
    torch.testing.assert_close(cross_entropy(LOGITS, labels), F.cross_entropy(LOGITS, labels))
    expected = F.binary_cross_entropy(LOGITS.sigmoid(), TARGETS)
    torch.testing.assert_close(binary_cross_entropy(LOGITS, TARGETS), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_frames_count_like_clips(name: str) -> None:
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    targets = (logits > 0.5).float() if name in MULTI_LABEL else logits.argmin(2)
    loss = LOSSES[name]
    torch.testing.assert_close(loss(logits, targets), loss(logits.flatten(0, 1), targets.flatten(0, 1)))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_lifted(name: str, dtype: torch.dtype) -> None:
    logits = (20 * LOGITS).to(dtype).requires_grad_()
    targets = TARGETS if name in MULTI_LABEL else torch.tensor([1, 0])
    loss = LOSSES[name](logits, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss == LOSSES[name](logits.detach().float(), targets)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_sure_and_wrong_is_finite_and_costs_more_than_sure_and_right(name: str) -> None:
    sure = torch.tensor([[60.0, -60.0]])
    right, wrong = (
        (torch.tensor([[1, 0]]), torch.tensor([[0, 1]])) if name in MULTI_LABEL else map(torch.tensor, ([0], [1]))
    )
    assert LOSSES[name](sure, right) < 1e-6
    assert 1 < LOSSES[name](sure, wrong) < math.inf


@pytest.mark.parametrize("name", LOSSES)
def test_targets_of_the_other_kind_are_refused(name: str) -> None:
    other_kind = torch.tensor([2, 0]) if name in MULTI_LABEL else TARGETS
    with pytest.raises(OscineError, match=r"have shape .* these logits need"):
        LOSSES[name](LOGITS, other_kind)
