from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, normalize

from oscine.probe.heads import similarity
from oscine.probe.heads.similarity import tiled_min_max

SETS, PLACES, DIM, PROTOTYPES = 5, 7, 6, 11


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=False)


def plain(patches: Tensor, prototypes: Tensor) -> Tensor:
    """All similarities at once."""
    all_of_them = linear(patches, prototypes)
    return torch.stack([all_of_them.amin(1), all_of_them.amax(1)])


@pytest.fixture(params=[1, 3, 512], ids=lambda side: f"side {side}")
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of one similarity, of some, and one that holds all; tables of one set, of some, and of all."""
    monkeypatch.setitem(similarity.SIDES, "cpu", request.param)
    monkeypatch.setattr(similarity, "TABLE", request.param * PLACES * DIM)


@pytest.mark.usefixtures("tiles")
def test_values_and_gradients_are_those_of_all_similarities_at_once() -> None:
    patches, prototypes = draw(SETS, PLACES, DIM).requires_grad_(), draw(PROTOTYPES, DIM, seed=1).requires_grad_()
    weight = draw(2, SETS, PROTOTYPES, seed=2)
    ours, theirs = tiled_min_max(patches, prototypes), plain(patches, prototypes)
    torch.testing.assert_close(ours, theirs)
    expected = torch.autograd.grad((theirs * weight).sum(), (patches, prototypes))
    torch.testing.assert_close(torch.autograd.grad((ours * weight).sum(), (patches, prototypes)), expected)


@pytest.mark.usefixtures("tiles")
def test_the_gradient_is_that_of_finite_differences_through_what_is_compared() -> None:
    patches, prototypes = draw(2, PLACES, DIM).requires_grad_(), draw(4, DIM, seed=1).requires_grad_()

    def compared(patches: Tensor) -> Tensor:  # [set, 2 * place, dim], and not linear
        return normalize(torch.cat([patches, patches.roll(1, dims=1) + patches], dim=1), dim=2)

    def best(patches: Tensor, prototypes: Tensor) -> Tensor:
        return tiled_min_max(patches, prototypes, (torch.max,), compared)

    assert best(patches, prototypes).shape == (1, 2, 4)
    torch.testing.assert_close(best(patches, prototypes)[0], plain(compared(patches), prototypes)[1])
    assert torch.autograd.gradcheck(best, (patches, prototypes))


def test_patches_that_do_not_learn_get_no_gradient_and_prototypes_theirs() -> None:
    patches, prototypes = draw(SETS, PLACES, DIM), draw(PROTOTYPES, DIM, seed=1).requires_grad_()
    tiled_min_max(patches, prototypes).sum().backward()
    (expected,) = torch.autograd.grad(plain(patches, prototypes).sum(), prototypes)
    torch.testing.assert_close(prototypes.grad, expected)
    assert patches.grad is None


def test_one_end_may_be_asked_for() -> None:
    patches, prototypes = draw(SETS, PLACES, DIM), draw(PROTOTYPES, DIM, seed=1)
    assert torch.equal(tiled_min_max(patches, prototypes, (torch.max,))[0], tiled_min_max(patches, prototypes)[1])
    assert torch.equal(tiled_min_max(patches, prototypes, (torch.min,))[0], tiled_min_max(patches, prototypes)[0])


def test_of_equal_patches_one_wins() -> None:
    patches = torch.ones(1, PLACES, DIM, dtype=torch.float64, requires_grad=True)
    tiled_min_max(patches, torch.ones(1, DIM, dtype=torch.float64), (torch.max,)).sum().backward()
    assert patches.grad is not None
    assert patches.grad.sum(-1).count_nonzero() == 1
    assert patches.grad.sum() == DIM


def test_nothing_as_large_as_all_similarities_is_made() -> None:
    patches, prototypes = torch.zeros(8, 64, 4, requires_grad=True), torch.zeros(4096, 4, requires_grad=True)
    on_cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=on_cpu, profile_memory=True, acc_events=True) as profile:
        tiled_min_max(patches, prototypes).sum().backward()
    largest = max(event.cpu_memory_usage for event in profile.events() or [])
    assert 0 < largest <= 8 * 64 * 4096 * 4 / 5
