"""Learning rate, teacher decay and weight-decay groups at the points that the papers' code is known at."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from oscine.pretrain.schedule import (
    adamw,
    decay_groups,
    no_decay_names,
    teacher_decay,
    warmup_cosine,
    warmup_cosine_schedule,
)

PEAK, FLOOR = 5e-4, 1e-6


def bat_rate(step: int) -> float:
    return PEAK * warmup_cosine(step, 50_000, 400_000, FLOOR / PEAK)


def test_the_first_step_uses_the_floor():
    assert bat_rate(0) == pytest.approx(FLOOR)
    assert bat_rate(100) == pytest.approx(FLOOR)  # 100 / 50,000 of the peak is the floor
    assert bat_rate(101) == pytest.approx(1.01 * FLOOR)


def test_the_peak_is_reached_where_warm_up_ends():
    assert bat_rate(25_000) == pytest.approx(PEAK / 2)
    assert bat_rate(49_999) < bat_rate(50_000) == PEAK > bat_rate(50_001)


def test_half_a_cosine_leads_to_the_floor():
    assert bat_rate(225_000) == pytest.approx(PEAK / 2)
    assert bat_rate(137_500) == pytest.approx(PEAK * (1 + math.sqrt(0.5)) / 2)
    assert bat_rate(399_000) == bat_rate(400_000) == pytest.approx(FLOOR)  # clamped, not a cosine to the floor
    assert bat_rate(380_000) == pytest.approx(PEAK * 0.5 * (1 + math.cos(math.pi * 330 / 350)))


def test_without_a_floor_the_rate_goes_from_zero_to_zero():
    assert warmup_cosine(0, 15_600, 166_000) == 0
    assert warmup_cosine(15_600, 15_600, 166_000) == 1
    assert warmup_cosine(166_000, 15_600, 166_000) == 0


def test_a_run_without_warm_up_starts_at_the_peak():
    assert warmup_cosine(0, 0, 10) == 1


def test_a_run_that_is_all_warm_up_has_no_cosine():
    assert [warmup_cosine(step, 4, 4) for step in range(5)] == [0, 0.25, 0.5, 0.75, 1]


def test_the_schedule_drives_every_group_of_the_optimizer_step_by_step():
    groups = [{"params": [nn.Parameter(torch.ones(1))]}, {"params": [nn.Parameter(torch.ones(1))]}]
    made = warmup_cosine_schedule(torch.optim.AdamW(groups, lr=PEAK), 4, 8, FLOOR / PEAK)
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]
    assert scheduler["interval"] == "step"
    rates = []
    for _ in range(9):
        rates.append({group["lr"] for group in optimizer.param_groups})
        optimizer.step()
        scheduler["scheduler"].step()
    assert all(len(rate) == 1 for rate in rates)
    assert [rate.pop() for rate in rates] == pytest.approx(
        [PEAK * warmup_cosine(step, 4, 8, FLOOR / PEAK) for step in range(9)]
    )


def test_the_teacher_decay_is_a_float32_ramp_and_then_the_exact_end():
    assert teacher_decay(0, 0.9998, 0.99999, 100_000) == pytest.approx(0.9998000264, abs=5e-11)
    assert teacher_decay(50_000, 0.9998, 0.99999, 100_000) == pytest.approx(0.999895, abs=1e-7)
    assert teacher_decay(99_999, 0.9998, 0.99999, 100_000) == torch.tensor(0.99999).item()
    assert teacher_decay(100_000, 0.9998, 0.99999, 100_000) == 0.99999
    ramp = [teacher_decay(step, 0.9998, 0.99999, 100_000) for step in range(0, 100_000, 9973)]
    assert ramp == sorted(ramp)


def test_only_matrices_and_tokens_decay():
    module = nn.ModuleDict({"linear": nn.Linear(3, 2), "norm": nn.LayerNorm(2)})
    module.token = nn.Parameter(torch.zeros(1, 1, 2))
    module.table = nn.Parameter(torch.zeros(1, 4, 2), requires_grad=False)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decayed, spared = decay_groups(module, no_decay_names(module), 0.1)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert sorted(names[id(p)] for p in decayed["params"]) == ["linear.weight", "token"]
    assert sorted(names[id(p)] for p in spared["params"]) == ["linear.bias", "norm.bias", "norm.weight"]


def test_what_decays_is_known_although_all_that_is_dealt_out_to_devices_has_one_axis():
    module = nn.Linear(3, 2)
    early = no_decay_names(module)
    for parameter in module.parameters():
        parameter.data = parameter.data.flatten()
    decayed, spared = decay_groups(module, early, 0.1)
    assert [len(group["params"][0]) for group in (decayed, spared)] == [6, 2]


def test_adamw_is_fused_where_that_exists():
    for device, fused in {"cpu": True, "meta": False}.items():
        weight = nn.Parameter(torch.zeros(2, device=device))
        optimizer = adamw([{"params": [weight], "weight_decay": 0.1}], 1e-3)
        assert [group["fused"] for group in optimizer.param_groups] == [fused]


def test_fused_adamw_takes_the_steps_that_are_in_the_book():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(50, generator=generator)
    trained = nn.Parameter(weight.clone())
    optimizer = adamw([{"params": [trained], "weight_decay": 0.1}], 1e-2)
    first, second = torch.zeros(50), torch.zeros(50)
    for step in range(1, 6):
        trained.grad = torch.randn(50, generator=generator)
        first = 0.9 * first + 0.1 * trained.grad
        second = 0.95 * second + 0.05 * trained.grad**2
        weight = weight * (1 - 1e-2 * 0.1)
        weight = weight - 1e-2 * (first / (1 - 0.9**step)) / ((second / (1 - 0.95**step)).sqrt() + 1e-8)
        optimizer.step()
        torch.testing.assert_close(trained.data, weight)
