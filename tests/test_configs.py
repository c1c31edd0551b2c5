"""Every YAML that comes with oscine is complete, read as it stands, and builds what it names."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from oscine.cli.console import config
from oscine.cli.pretrain import pretrain
from oscine.cli.probe import probe
from oscine.models import create_model, list_models
from oscine.models.encoders.base.encoder import Encoder
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.settings import TrainerSettings
from oscine.probe.finetune.settings import TuningSettings
from oscine.probe.fit.settings import FitSettings
from oscine.probe.report.figures import Mark
from oscine.probe.tasks.settings import TaskSettings

ROOT = Path(__file__).resolve().parents[1]
PRETRAIN = config.shipped("pretrain")
PROBE = config.shipped("probe")
FROZEN = [name for name in PROBE if not name.startswith("finetune/")]
ASKING = [name for name in FROZEN if "task" in config.read(config.find("probe", name))]  # of a published task


def content(kind: str, name: str) -> dict[str, Any]:
    return config.read(config.find(kind, name))


def arguments(of: Callable[..., Any], but: set[str]) -> set[str]:
    """The names that a YAML has to give."""
    return set(inspect.signature(of).parameters) - but


def meta(name: str, **settings: Any) -> Encoder:
    """An encoder without memory for its weights."""
    with torch.device("meta"):
        return create_model(name, **settings)


def test_both_methods_come_in_both_sizes_and_every_probe_once_for_any_task() -> None:
    assert {"bat_base", "bat_tiny", "bird_mae_base", "bird_mae_tiny"} <= set(PRETRAIN)
    assert {content("pretrain", name)["method"] for name in PRETRAIN} == set(pretrain.METHODS)
    once = [
        name for name in FROZEN if name not in ASKING and name != "linear_mean"
    ]  # which is published, linear is better
    assert sorted(content("probe", name)["probe"] for name in once) == sorted(probe.PROBES)
    assert len(FROZEN) <= 22


@pytest.mark.parametrize("name", PRETRAIN)
def test_a_recipes_yaml_leaves_nothing_to_a_hidden_default(name: str) -> None:
    given = content("pretrain", name)
    assert set(given) == {
        "name", "method", "seed", "encoder", "recipe", "data", "save_every", "log_every", "health_every",
        "pictures_every", "probe_every", "keep_every", "trainer",
    }  # fmt: skip
    assert given["name"] == given["encoder"]["name"] == name
    assert set(given["recipe"]) == arguments(pretrain.METHODS[given["method"]], but={"encoder"})
    assert set(given["data"]) == arguments(PretrainingData, but={"recordings", "seed"})
    assert {"precision", "accumulate_grad_batches", "gradient_clip_val"} <= set(given["trainer"])
    assert set(given["trainer"]) <= arguments(TrainerSettings, but=set())


@pytest.mark.parametrize("name", PRETRAIN)
def test_a_recipes_yaml_is_read_as_it_stands(name: str) -> None:
    given = content("pretrain", name)
    parser = pretrain.parser(given["method"])
    read = config.parse(parser, config.find("pretrain", name), ["--data.recordings", "."]).as_dict()
    given["data"]["recordings"] = read["data"]["recordings"]
    assert {key: read[key] for key in given if key != "trainer"} == {
        key: value for key, value in given.items() if key != "trainer"
    }
    assert {key: read["trainer"][key] for key in given["trainer"]} == given["trainer"]


@pytest.mark.parametrize("name", PRETRAIN)
def test_a_recipes_yaml_builds(name: str) -> None:
    given = content("pretrain", name)
    with torch.device("meta"):
        recipe = pretrain.METHODS[given["method"]](create_model(**given["encoder"]), **given["recipe"])
    assert recipe.steps == given["recipe"]["steps"]
    assert all(parameter.is_meta for parameter in recipe.parameters())
    assert recipe.draw_keep(torch.Generator()).max() < recipe.encoder.grid[0] * recipe.encoder.grid[1]
    assert given["recipe"]["warmup"] < 1, "a share, which other steps leave right"
    assert recipe.warmup < recipe.steps


@pytest.mark.parametrize("name", PROBE)
def test_a_probes_yaml_leaves_nothing_to_a_hidden_default(name: str) -> None:
    given = content("probe", name)
    tuned = {"tuning"} if name not in FROZEN else set()
    assert set(given) - {"task"} == {"name", "probe", "head", "fit", *tuned}
    assert given["name"] == (f"{name.removeprefix('finetune/')}_finetuned" if tuned else name)
    assert set(given.get("tuning", {})) == (arguments(TuningSettings, but=set()) if tuned else set())
    assert set(given.get("task", {})) in (set(), arguments(TaskSettings, but=set()))
    assert set(given["head"]) == arguments(probe.PROBES[given["probe"]], but={"encoder", "classes"})
    assert set(given["fit"]) == arguments(FitSettings, but=set())


@pytest.mark.parametrize("name", PROBE)
def test_a_probes_yaml_is_read_as_it_stands(name: str) -> None:
    given = content("probe", name)
    parser = probe.parser(given["probe"])
    read = config.parse(parser, config.find("probe", name), ["--encoder", "bat_tiny"]).as_dict()
    assert json.loads(json.dumps({key: read.get(key, {}) for key in given}, default=str)) == given


@pytest.mark.parametrize("name", PROBE)
@pytest.mark.parametrize("encoder", ["bat_base", "bird_mae_base"])
def test_a_probes_yaml_builds(name: str, encoder: str) -> None:
    given = content("probe", name)
    with torch.device("meta"):
        made = probe.PROBES[given["probe"]](meta(encoder), 50, **given["head"])
    assert (made.classes, made.dim, made.depth) == (50, 768, 12)
    assert FitSettings(**given["fit"]).steps == given["fit"]["steps"]
    assert given["fit"]["warmup"] < 1, "a share, which other steps leave right"


def test_a_yaml_may_be_named_by_its_path_too() -> None:
    path = config.find("probe", "linear")
    assert config.find("probe", str(path)) == path


def test_what_quickstart_names_exists_and_builds() -> None:
    plan = config.read(config.find_quickstart())
    for name, overrides in plan["recipes"].items():
        assert set(overrides) <= set(content("pretrain", name)["data"])
        encoder = meta(**content("pretrain", name)["encoder"])
        for chosen in plan["probes"].values():
            probe.PROBES[chosen["probe"]](encoder, 10, **chosen["head"])
            assert set(chosen["fit"]) == arguments(FitSettings, but={"loss", "balanced", "select_every", "seed"})
            assert FitSettings(**chosen["fit"]).warmup == chosen["fit"]["warmup"]
    assert {chosen["probe"] for chosen in plan["probes"].values()} <= set(probe.PROBES)
    assert plan["embedded"] in list_models(pretrained=True)
    assert plan["embedded"].partition(".")[0] in plan["recipes"], "its random twin is that of a recipe"
    assert plan["shown"] in plan["probes"]
    chosen = plan["detections"]
    probe.PROBES[chosen["probe"]](encoder, 10, **chosen["head"])
    assert FitSettings(**chosen["fit"]).steps == chosen["fit"]["steps"]


def test_the_longer_runs_that_quickstart_shows_are_those_of_the_results() -> None:
    """A gain is written there as such, or is the difference of the two accuracies that are."""
    written = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    section = " ".join(
        written.partition("## ESC-10, five published folds")[2].partition("synthetic dawn chorus")[0].split()
    )
    figures = {
        ("bird_mae_tiny", 600): ("67.3 ± 3.1", 67.3 - 69.0),
        ("bird_mae_tiny", 1500): ("68.0 ± 4.5", 68.0 - 69.0),
        ("bird_mae_tiny", 2000): ("Bird-MAE gains 8.2 ± 6.4", 8.2),
        ("bird_mae_tiny", 4000): ("+12.2 ± 3.1", 12.2),
        ("bat_tiny", 400): ("46.3 ± 3.9", 46.3 - 59.5),
        ("bat_tiny", 2000): ("BAT gains 2.3 ± 6.9", 2.3),
    }
    marks = [Mark(**mark) for mark in config.read(config.find_quickstart())["measured"]]
    assert [(mark.recipe, mark.steps) for mark in marks] == list(figures)
    for mark in marks:
        said, points = figures[mark.recipe, mark.steps]
        assert said in section
        assert said.endswith(f"{mark.spread}")
        assert mark.gain == pytest.approx(points)
        assert mark.paired == ("gains" in said or "+" in said)
        assert mark.paired or f"{mark.steps:,}".replace(",", "") in section.replace(",", "")
