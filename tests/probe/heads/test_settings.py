"""The settings that stand without torch are those of the classes that have it: names, types, defaults and choices."""

from __future__ import annotations

import inspect
import math
from typing import get_type_hints

import docstring_parser
import pytest

from oscine.models.errors import OscineError
from oscine.probe.finetune.settings import TuningSettings
from oscine.probe.fit.losses import LOSSES as LOSS_FUNCTIONS
from oscine.probe.fit.search_space import SearchSettings, Space
from oscine.probe.fit.settings import LOSSES, FitSettings
from oscine.probe.heads.linear import NORMS as NORM_LAYERS
from oscine.probe.heads.linear import VectorProbe
from oscine.probe.heads.registry import PROBES
from oscine.probe.heads.settings import HEADS, NORMS
from oscine.probe.tasks.birdset import SETS as BIRDSET_SETS
from oscine.probe.tasks.published import BEANS as BEANS_TABLES
from oscine.probe.tasks.settings import BEANS, BIRDSET, TaskSettings

ALL = [*dict.fromkeys(HEADS.values()), FitSettings, SearchSettings, Space, TaskSettings, TuningSettings]


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_takes_its_settings_as_they_stand(name: str) -> None:
    of_class = dict(inspect.signature(PROBES[name], eval_str=True).parameters)
    assert [of_class.pop(given).name for given in ("encoder", "classes")] == ["encoder", "classes"]
    of_settings = inspect.signature(HEADS[name], eval_str=True).parameters
    assert [(one.name, one.annotation, one.default) for one in of_class.values()] == [
        (one.name, one.annotation, one.default) for one in of_settings.values()
    ]


def test_every_probe_has_settings_of_its_own() -> None:
    assert list(HEADS) == list(PROBES)
    for name, kind in PROBES.items():
        assert kind.__name__ == name


def test_what_may_be_chosen_is_what_there_is() -> None:
    for name, kind in PROBES.items():
        if issubclass(kind, VectorProbe):
            assert kind.pools == HEADS[name].pools, name
        assert kind.spatial == HEADS[name].spatial, name
    assert tuple(NORM_LAYERS) == NORMS
    assert tuple(LOSS_FUNCTIONS) == LOSSES
    assert tuple(name.lower() for name in BIRDSET_SETS) == BIRDSET
    assert tuple(BEANS_TABLES) == BEANS


@pytest.mark.parametrize("settings", ALL)
def test_help_says_what_each_setting_means(settings: type) -> None:
    documents = [docstring_parser.parse(one.__doc__ or "") for one in settings.__mro__[:-1]]
    explained = {param.arg_name for document in documents for param in document.params}
    assert set(get_type_hints(settings.__init__)) - {"return"} <= explained


@pytest.mark.parametrize("name", PROBES)
def test_no_help_stands_twice(name: str) -> None:
    assert not docstring_parser.parse(PROBES[name].__doc__ or "").params
    assert f"`{HEADS[name].__name__}`" in "".join(one.__doc__ or "" for one in PROBES[name].__mro__)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"lr": -1.0}, "fit.lr is -1, expected 0 or more"),
        ({"lr": math.nan}, "fit.lr is nan, expected 0 or more"),
        ({"beta2": 1.0}, "fit.beta2 1, .* below 1"),
        ({"weight_decay": -0.1}, "fit.weight_decay is -0.1, .* expected 0 or more, from 0"),
        ({"clip": 0.0}, "fit.clip 0.0: .* null or more than 0"),
    ],
)
def test_numbers_that_no_fit_can_have_are_refused(wrong: dict[str, float], complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint):
        FitSettings(**wrong)  # type: ignore[arg-type]
