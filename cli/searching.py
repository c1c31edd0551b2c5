"""`--search.trials N`: settings of the fit and the probe that are looked for, by clips that nobody is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt

from oscine import __version__
from oscine.cli.bench import Bench
from oscine.cli.command import Misuse
from oscine.cli.tasks import digest
from oscine.models.vectors import fingerprint
from oscine.probe.data import Task, with_validation
from oscine.probe.dcase import FrameTask
from oscine.probe.fit import FeatureSource, judge, main_metric
from oscine.probe.frames import judge_frames
from oscine.probe.probe import Probe
from oscine.probe.search import Settings, blind, need_optuna, search
from oscine.probe.search_space import Range, search_space

SEARCH = "search"  # in a run's folder


@dataclass(frozen=True)
class Space:
    """Ranges of numbers to look for; without any, those that are usual for the probe.

    Args:
        fit: ranges of numbers of the fit, such as --search.space.fit.lr "[1e-4, 1e-1]"; without any, the usual ones.
        head: the same of the probe, such as --search.space.head.dropout "[0, 0.5]".
    """

    fit: dict[str, tuple[float, float]] = field(default_factory=dict)
    head: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchSettings:
    """Look for settings before the probe is judged, by clips to choose by; a fifth is held out where there are none.

    Args:
        trials: how many settings are tried, the configuration's own first; 0 is no search. A search that was stopped or
            killed goes on with the same call; RUNS/NAME/search holds it.
        sobol: trials that are spread evenly (scrambled Sobol points) before TPE proposes the others.
        space: what is tried.
    """

    trials: NonNegativeInt = 0  # pyright: ignore[reportInvalidTypeForm]
    sobol: NonNegativeInt = 8  # pyright: ignore[reportInvalidTypeForm]
    space: Space = field(default_factory=Space)


def check_search(probe: type[Probe], settings: Namespace) -> None:
    """Refuse, before anything is encoded, a search that cannot be."""
    if settings.search.trials:
        if settings.task.shots:
            raise Misuse("--search.trials chooses by all clips, --task.shots learns from a few; give either")
        need_optuna()
        space_of(probe, settings)


def space_of(probe: type[Probe], settings: Namespace) -> dict[str, Range]:
    return search_space(probe, settings.search.space.fit, settings.search.space.head)


def search_clips(bench: Bench, features: FeatureSource, task: Task) -> Bench:
    """The bench with the settings that a search found; as it is where none was asked for."""
    if not bench.settings.search.trials:
        return bench
    held = with_validation(task)
    seen, metric = replace(held, parts=blind(held.parts)), main_metric(task.targets)

    def evaluate(tried: Bench) -> float:
        judgement = judge(tried.maker(seen), features, seen, tried.fit, device=tried.settings.device)
        return judgement.summary(metric)[0]

    return _search(bench, held, metric, evaluate)


def search_moments(bench: Bench, features: FeatureSource, scenes: FrameTask) -> Bench:
    """The same for events in recordings, by all frames as rows."""
    if not bench.settings.search.trials:
        return bench
    seen, metric = replace(scenes, parts=blind(scenes.parts)), "micro_map"

    def evaluate(tried: Bench) -> float:
        judgement = judge_frames(tried.maker(seen.whole), features, seen, tried.fit, device=tried.settings.device)
        return float(np.mean([getattr(metrics, metric) for metrics in judgement.frames]))

    return _search(bench, scenes.whole, metric, evaluate)


def search_facts(bench: Bench) -> dict[str, Any]:
    """For scores.json: what was tried, and the settings that were chosen in place of those that were given."""
    return {"settings": bench.settings.as_dict(), "search": bench.searched.as_dict()} if bench.searched else {}


def _search(bench: Bench, task: Task, metric: str, evaluate: Callable[[Bench], float]) -> Bench:
    asked, space = bench.settings.search, space_of(bench.probe, bench.settings)
    given = {f"fit.{name}": value for name, value in asdict(bench.fit).items()}
    given |= {f"head.{name}": value for name, value in bench.head.items()}
    found = search(
        space, lambda tried: evaluate(_with(bench, tried)), metric, bench.folder / SEARCH,
        _record(bench, task) | given | {f"search.space.{name}": ends for name, ends in space.items()},
        asked.trials, asked.sobol, bench.fit.seed, given, bench.settings.overwrite, bench.bar.task("search"),
    )  # fmt: skip
    values = ", ".join(f"{name} {value:.3g}" for name, value in found.chosen.items())
    bench.bar.say(f"trial {found.best} is best, with {values}")
    return replace(_with(bench, found.chosen), searched=found)


def _with(bench: Bench, chosen: Settings) -> Bench:
    settings = bench.settings.clone()
    for name, value in chosen.items():
        settings[name] = value
    return replace(bench, settings=settings)


def _record(bench: Bench, task: Task) -> dict[str, Any]:
    """What the value of settings depends on, beside them."""
    settings = bench.settings
    return {
        "oscine": __version__,
        "torch": torch.__version__,
        "encoder": fingerprint(bench.encoder),
        "probe": bench.probe.__name__,
        "rows": digest(task),
        "seconds": settings.seconds,
        "batch_size": settings.batch_size,
        "embeddings": settings.embeddings,
        "store": settings.store is not None,  # which rounds
        "device": bench.encoder.device.type,
        "search.sobol": settings.search.sobol,
    }
