"""The settings that stand without torch are those of the classes that have it: names, types, defaults and choices."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from unittest import mock

import docstring_parser
import pytest
import torch
from lightning import Trainer
from lightning.fabric.utilities.rank_zero import _get_rank
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.strategies import Strategy

from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.encoders.base.patch_encoder import PatchEncoder
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.errors import OscineError
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.distributed import is_first
from oscine.pretrain.methods import METHODS
from oscine.pretrain.settings import MODES, RECIPES, DataSettings, TrainerSettings

ALL = [*RECIPES.values(), DataSettings, TrainerSettings]


def parameters(of: Any, but: tuple[str, ...] = ()) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(of, eval_str=True).parameters.values()
    return [(one.name, one.annotation, one.default) for one in found if one.name not in but]


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_takes_its_settings_as_they_stand(name: str) -> None:
    assert parameters(METHODS[name], but=("encoder",)) == parameters(RECIPES[name])


def test_data_takes_its_settings_as_they_stand() -> None:
    assert parameters(PretrainingData, but=("seed",)) == parameters(DataSettings)


def kinds(hint: Any) -> set[Any]:
    """What a hint allows: the values of a literal, and the other members of a union, without Lightning's own classes."""
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return {kind for one in get_args(hint) for kind in kinds(one)}
    return {hint} - {Accelerator, Strategy}


def test_what_is_offered_of_the_trainer_is_as_lightning_has_it() -> None:
    theirs = inspect.signature(Trainer).parameters
    hints = get_type_hints(Trainer.__init__)
    for name, hint, default in parameters(TrainerSettings):
        assert kinds(hint) == kinds(hints[name]), name
        assert default == theirs[name].default, name


def test_the_modes_of_compile_are_torchs() -> None:
    assert set(MODES) <= {*torch._inductor.list_mode_options(), "default"}


@pytest.mark.parametrize("settings", ALL)
def test_help_says_what_each_setting_means(settings: type) -> None:
    explained = {param.arg_name for param in docstring_parser.parse(settings.__doc__ or "").params}
    assert {name for name, _, _ in parameters(settings)} == explained


@pytest.mark.parametrize("made", [*METHODS.values(), PretrainingData])
def test_no_help_stands_twice(made: type) -> None:
    assert not docstring_parser.parse(made.__doc__ or "").params
    assert any(f"`{settings.__name__}`" in str(made.__doc__) for settings in ALL)


@pytest.mark.parametrize(
    "said", [{}, {"RANK": "0"}, {"RANK": "3"}, {"SLURM_PROCID": "2"}, {"LOCAL_RANK": "0", "SLURM_PROCID": "2"}]
)
def test_the_first_process_of_a_run_is_the_one_that_lightning_takes_for_it(said: dict[str, str]) -> None:
    known = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    bare = {name: value for name, value in os.environ.items() if name not in known}
    with mock.patch.dict(os.environ, bare | said, clear=True):
        assert is_first() == ((_get_rank() or 0) == 0)


def hidden(recipe: type, share: float) -> list[dict[str, float]]:
    """Every setting of a recipe that says which share is hidden, with that."""
    return [{name: share} for name, _, _ in parameters(recipe) if name.startswith("mask_")]


@pytest.mark.parametrize(
    ("recipe", "wrong"),
    [
        (recipe, wrong)
        for recipe in RECIPES.values()
        for wrong in [*hidden(recipe, 1.5), *hidden(recipe, 0.0), {"lr": -1e-3}, {"lr": math.nan}, {"steps": 0}]
    ],
)
def test_numbers_that_no_recipe_can_have_are_refused(recipe: type, wrong: dict[str, float]) -> None:
    with pytest.raises(OscineError, match=f"recipe.{next(iter(wrong))} is .*expected"):
        recipe(**wrong)


@pytest.mark.parametrize(
    ("name", "encoder", "wrong"),
    [
        ("AudioMosaicPretraining", lambda: AudioMosaic(24, 1, 2, seconds=1.0, frames=112), {"masks": "rows"}),
        ("BATPretraining", lambda: BAT(24, 1, 2, seconds=1.27), {"mask_ratio": 1.5}),
        ("BirdMAEPretraining", lambda: BirdMAE(24, 1, 2, seconds=1.0), {"mask_ratio": 1.5}),
    ],
)
def test_a_recipe_refuses_what_its_settings_refuse(
    name: str, encoder: Callable[[], PatchEncoder], wrong: dict[str, Any]
) -> None:
    with pytest.raises(OscineError) as settings:
        RECIPES[name](**wrong)
    with pytest.raises(OscineError) as recipe:
        METHODS[name](encoder(), **wrong)
    assert str(recipe.value) == str(settings.value)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": -1}, {"seconds": 0.0}])
def test_numbers_that_no_data_can_have_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OscineError, match=f"data.{next(iter(wrong))}.* {next(iter(wrong.values()))}"):
        DataSettings(Path("field"), **wrong)  # type: ignore[arg-type]
