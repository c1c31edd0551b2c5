"""`--search.trials N`: settings of fit and probe, which each part of a task chooses by clips that do not judge it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from statistics import median_low
from typing import Any

import torch

from oscine import __version__
from oscine.cli.probe.bench import Bench
from oscine.cli.probe.tasks import digest
from oscine.models.encoders.base.state import fingerprint
from oscine.probe.fit.frames import judge_frames
from oscine.probe.fit.judge import FeatureSource, judge, main_metric, within
from oscine.probe.fit.search import Settings, blind, search
from oscine.probe.fit.search_space import search_space
from oscine.probe.results.run_files import SEARCH
from oscine.probe.tasks.frame_task import FrameTask
from oscine.probe.tasks.task import Part, Task, with_validation


def search_clips(bench: Bench, features: FeatureSource, task: Task) -> Bench:
    """The bench with the settings that searches found, one for each part of the task; as it is where none was asked for.

    A part's is by rows of its own to choose by, which it holds out from those to learn from where it has none.
    """
    if not bench.settings.search.trials:
        return bench
    held, metric, preparing = with_validation(task), main_metric(task.targets), bench.preparing()

    def evaluate(tried: Bench, part: Part) -> float:
        seen = replace(held, parts=[part])
        judgement = judge(
            tried.maker(seen), features, seen, tried.fit, device=tried.settings.device, preparing=preparing
        )
        return judgement.summary(metric)[0]

    return _search(bench, held, metric, evaluate)


def search_moments(bench: Bench, features: FeatureSource, scenes: FrameTask) -> Bench:
    """The same for events in recordings, by all frames as rows."""
    if not bench.settings.search.trials:
        return bench
    metric, preparing = "micro_map", bench.preparing()

    def evaluate(tried: Bench, part: Part) -> float:
        seen = replace(scenes, parts=[part])
        hop = bench.encoder.frontend.patch_seconds
        judgement = judge_frames(
            tried.maker(seen.whole),
            features,
            seen,
            tried.fit,
            device=tried.settings.device,
            hop=hop,
            preparing=preparing,
        )
        return getattr(judgement.frames[0], metric)

    return _search(bench, scenes.whole, metric, evaluate)


def settled(bench: Bench, part: Part) -> Bench:
    """The bench with the settings that were chosen for a part."""
    return _with(bench, bench.searched[part.name].chosen)


def search_facts(bench: Bench) -> dict[str, Any]:
    """For scores.json: what each part tried and chose, and the settings of the probe to keep in place of those given."""
    searched = {part: search.as_dict() for part, search in bench.searched.items()}
    return {"settings": bench.settings.as_dict(), "search": searched} if searched else {}


def _search(bench: Bench, task: Task, metric: str, evaluate: Callable[[Bench, Part], float]) -> Bench:
    """A search for each part, which knows nothing of the others; what stands in the settings then is for the probe to keep.

    That is the median over the parts of each setting, the lower one of two: nobody is judged by it.
    """
    asked = bench.settings.search
    space = search_space(bench.probe, asked.space.fit, asked.space.head)
    given = {f"fit.{name}": value for name, value in asdict(bench.fit).items()}
    given |= {f"head.{name}": value for name, value in bench.head.items()}
    record = _record(bench, task) | given | {f"search.space.{name}": ends for name, ends in space.items()}
    progress, found = bench.bar.task("search"), {}
    for number, part in enumerate(task.parts):
        found[part.name] = search(
            space, partial(_value, bench, evaluate, blind(part)), metric, bench.folder / SEARCH / str(number), record,
            asked.trials, asked.sobol, bench.fit.seed, given, bench.settings.overwrite,
            within(progress, number, len(task.parts)),
        )  # fmt: skip
        values = ", ".join(f"{name} {value:.3g}" for name, value in found[part.name].chosen.items())
        bench.bar.say(f"{part.name}: trial {found[part.name].best} is best, with {values}")
    kept = {name: median_low(search.chosen[name] for search in found.values()) for name in space}
    return replace(_with(bench, kept), searched=found)


def _value(bench: Bench, evaluate: Callable[[Bench, Part], float], part: Part, tried: Settings) -> float:
    return evaluate(_with(bench, tried), part)


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
