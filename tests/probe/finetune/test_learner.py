"""Layer-wise learning rates."""

from __future__ import annotations

import pytest
import torch
from timm.scheduler import CosineLRScheduler

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.zoo import create_model
from oscine.probe.finetune.learner import encoder_groups
from tests.tiny_encoders import DEPTH, TINY, TRAINED_POSITIONS


def groups_by_name(encoder: Encoder, decay: float = 0.5) -> dict[str, dict[str, float]]:
    names = {id(parameter): name for name, parameter in encoder.named_parameters()}
    found: dict[str, dict[str, float]] = {}
    for group in encoder_groups(encoder, 1e-3, 0.05, decay):
        for parameter in group["params"]:
            assert names[id(parameter)] not in found, "no parameter is in two groups"
            found[names[id(parameter)]] = group
    return found


@pytest.mark.parametrize("name", TINY)
def test_every_trained_parameter_is_in_one_group_and_fixed_positions_in_none(name: str) -> None:
    encoder = TINY[name]()
    assert set(groups_by_name(encoder)) == {
        name for name, parameter in encoder.named_parameters() if parameter.requires_grad
    }
    assert ("pos_embed" in groups_by_name(encoder)) == (name in TRAINED_POSITIONS)


@pytest.mark.parametrize("name", TINY)
def test_a_block_learns_by_the_decay_less_than_the_next(name: str) -> None:
    encoder = TINY[name]()
    for parameter, group in groups_by_name(encoder).items():
        if parameter.startswith(f"{encoder.block_path}."):
            block = int(parameter.removeprefix(f"{encoder.block_path}.").partition(".")[0])
            assert group["lr_scale"] == 0.5 ** (DEPTH - block)


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("BAT", ["cls_token", "patch_embed.proj.weight"], ["pre_norm.weight"]),
        ("BirdMAE", ["cls_token", "patch_embed.proj.bias"], ["norm.weight", "fc_norm.bias"]),
        ("AudioMosaic", ["cls_token", "pos_embed", "patch_embed.norm.weight"], ["norm_pre.weight", "fc_norm.bias"]),
        ("BEATs", ["patch_embedding.weight", "post_extract_proj.weight", "encoder.pos_conv.0.weight_v"], []),
    ],
)
def test_embeddings_learn_least_and_the_norms_that_authors_name_learn_most(
    name: str, lowest: list[str], highest: list[str]
) -> None:
    found = groups_by_name(TINY[name]())
    assert {found[one]["lr_scale"] for one in lowest} == {0.5 ** (DEPTH + 1)}
    assert all(found[one]["lr_scale"] == 1.0 for one in highest)


def test_of_twelve_blocks_rates_are_those_of_bats_paper() -> None:
    with torch.device("meta"):
        found = groups_by_name(create_model("bat_base"), decay=0.75)
    assert found["cls_token"]["lr_scale"] == pytest.approx(0.0238, abs=5e-5)
    assert found["blocks.11.attn.qkv.weight"]["lr_scale"] == 0.75


@pytest.mark.parametrize("name", TINY)
def test_matrices_alone_decay(name: str) -> None:
    encoder = TINY[name]()
    shapes = {name: parameter.ndim for name, parameter in encoder.named_parameters()}
    for parameter, group in groups_by_name(encoder).items():
        free = shapes[parameter] == 1 or parameter.endswith(
            ("cls_token", "pos_embed", "relative_attention_bias.weight", "grep_a")
        )
        assert group["weight_decay"] == (0.0 if free else 0.05), parameter


def test_a_schedule_scales_each_groups_rate() -> None:
    optimizer = torch.optim.AdamW(encoder_groups(TINY["BAT"](), 1e-3, 0.05, 0.5))
    schedule = CosineLRScheduler(
        optimizer, 90, lr_min=1e-6, warmup_t=10, warmup_lr_init=1e-6, warmup_prefix=True, t_in_epochs=False
    )
    for step, rate in ((0, 1e-6), (10, 1e-3), (100, 1e-6)):
        schedule.step_update(step)
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(rate * group["lr_scale"])
