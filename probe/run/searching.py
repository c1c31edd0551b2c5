"""`--search.trials N`: settings of fit and probe, which each part of a task chooses by clips that do not judge it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from statistics import median_low
from typing import Any

import torch

from oscine import __version__
from oscine.models.encoders.base.state import fingerprint
from oscine.probe.fit.frames import judge_frames
from oscine.probe.fit.judge import FeatureSource, judge, within
from oscine.probe.fit.search import Settings, blind, search
from oscine.probe.fit.search_space import search_space
from oscine.probe.results.run_files import SEARCH
from oscine.probe.run.context import RunContext
from oscine.probe.tasks.frame_task import FrameTask
from oscine.probe.tasks.open import hash_rows
from oscine.probe.tasks.task import Part, Task, with_validation


def search_clips(run: RunContext, features: FeatureSource, task: Task) -> RunContext:
    """The run with the settings that searches found, one for each part of the task; as it is where none was asked for.

    A part's is by rows of its own to choose by, which it holds out from those to learn from where it has none.
    """
    if not run.settings.search.trials:
        return run
    held, metric, preparing = with_validation(task), task.kind.metric, run.preparing()

    def evaluate(tried: RunContext, part: Part) -> float:
        seen = replace(held, parts=[part])
        judgement = judge(
            tried.maker(seen), features, seen, tried.settings.fit, device=tried.device, preparing=preparing
        )
        return judgement.summary(metric)[0]

    return _search(run, held, metric, evaluate)


def search_moments(run: RunContext, features: FeatureSource, scenes: FrameTask) -> RunContext:
    """The same for events in recordings, by all frames as rows."""
    if not run.settings.search.trials:
        return run
    metric, preparing = scenes.kind.metric, run.preparing()

    def evaluate(tried: RunContext, part: Part) -> float:
        seen = replace(scenes, parts=[part])
        hop = run.encoder.step_seconds
        judgement = judge_frames(
            tried.maker(seen.whole),
            features,
            seen,
            tried.settings.fit,
            device=tried.device,
            hop=hop,
            preparing=preparing,
        )
        return getattr(judgement.frames[0], metric)

    return _search(run, scenes.whole, metric, evaluate)


def settled(run: RunContext, part: Part) -> RunContext:
    """The run with the settings that were chosen for a part."""
    return _with(run, run.searched[part.name].chosen)


def search_facts(run: RunContext) -> dict[str, Any]:
    """For scores.json: what each part tried and chose, and the settings of the probe to keep in place of those given."""
    searched = {part: search.as_dict() for part, search in run.searched.items()}
    return {"settings": run.settings.as_dict(), "search": searched} if searched else {}


def _search(run: RunContext, task: Task, metric: str, evaluate: Callable[[RunContext, Part], float]) -> RunContext:
    """A search for each part, which knows nothing of the others; what stands in the settings then is for the probe to keep.

    That is the median over the parts of each setting, the lower one of two: nobody is judged by it.
    """
    asked = run.settings.search
    space = search_space(run.probe, asked.space.fit, asked.space.head)
    given = {f"fit.{name}": value for name, value in asdict(run.settings.fit).items()}
    given |= {f"head.{name}": value for name, value in run.settings.head.items()}
    record = _record(run, task) | given | {f"search.space.{name}": ends for name, ends in space.items()}
    progress, found = run.bar.task("search"), {}
    for number, part in enumerate(task.parts):
        found[part.name] = search(
            space, partial(_value, run, evaluate, blind(part)), metric, run.folder / SEARCH / str(number), record,
            asked.trials, asked.sobol, run.settings.fit.seed, given, run.settings.overwrite,
            within(progress, number, len(task.parts)),
        )  # fmt: skip
        values = ", ".join(f"{name} {value:.3g}" for name, value in found[part.name].chosen.items())
        run.bar.say(f"{part.name}: trial {found[part.name].best} is best, with {values}")
    kept = {name: median_low(search.chosen[name] for search in found.values()) for name in space}
    return replace(_with(run, kept), searched=found)


def _value(run: RunContext, evaluate: Callable[[RunContext, Part], float], part: Part, tried: Settings) -> float:
    return evaluate(_with(run, tried), part)


def _with(run: RunContext, chosen: Settings) -> RunContext:
    sections: dict[str, dict[str, Any]] = {"fit": {}, "head": {}}
    for name, value in chosen.items():
        section, _, key = name.partition(".")
        sections[section][key] = value
    settings = run.settings
    return replace(
        run,
        settings=replace(settings, fit=replace(settings.fit, **sections["fit"]), head=settings.head | sections["head"]),
    )


def _record(run: RunContext, task: Task) -> dict[str, Any]:
    """What the value of settings depends on, beside them."""
    settings = run.settings
    return {
        "oscine": __version__,
        "torch": torch.__version__,
        "encoder": fingerprint(run.encoder),
        "probe": run.probe.__name__,
        "rows": hash_rows(task),
        "seconds": settings.seconds,
        "batch_size": run.batch_size,
        "embeddings": settings.embeddings,
        "store": settings.store is not None,  # which rounds
        "device": run.encoder.device.type,
        "search.sobol": settings.search.sobol,
    }
