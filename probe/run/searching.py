"""Search settings of fit and probe; each part of a task chooses them by clips that do not judge it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from statistics import median_low
from typing import Any

import torch

from oscine import __version__
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.probe.fit.frames import judge_frames
from oscine.probe.fit.judge import FeatureSource, Judgement, judge, within
from oscine.probe.fit.search import SearchPlan, Settings, search, validation_view
from oscine.probe.fit.search_space import search_space
from oscine.probe.results.run_files import SEARCH
from oscine.probe.run.context import RunContext
from oscine.probe.tasks.frame_task import FrameTask
from oscine.probe.tasks.open import hash_rows
from oscine.probe.tasks.task import Part, Task, with_validation


def search_clips(run: RunContext, features: FeatureSource, task: Task) -> RunContext:
    """Return the run with the settings that searches found, one for each part; as it is where none was asked for.

    A part's is by rows of its own to choose by, which it holds out from those to learn from where it has none.
    """
    if not run.settings.search.trials:
        return run
    held, preparing = with_validation(task), run.preparing()

    def judge_part(tried: RunContext, part: Part) -> Judgement:
        seen = replace(held, parts=[part])
        fit = tried.settings.fit
        return judge(tried.maker(seen), features, seen, fit, device=tried.device, preparing=preparing)

    return _search(run, held, task.kind.metric, judge_part)


def search_frames(run: RunContext, features: FeatureSource, scenes: FrameTask) -> RunContext:
    """Search as `search_clips` does for events in recordings, by all frames as rows."""
    if not run.settings.search.trials:
        return run
    whole, hop, preparing = scenes.whole, run.encoder.step_seconds, run.preparing()

    def judge_part(tried: RunContext, part: Part) -> Judgement:
        seen, make_probe, fit = replace(scenes, parts=[part]), tried.maker(whole), tried.settings.fit
        return judge_frames(make_probe, features, seen, fit, device=tried.device, hop=hop, preparing=preparing)

    return _search(run, whole, scenes.kind.metric, judge_part)


def with_chosen(run: RunContext, chosen: Settings) -> RunContext:
    """Return the run with other settings of fit and head. chosen: by their names, such as fit.lr."""
    sections: dict[str, dict[str, Any]] = {"fit": {}, "head": {}}
    for name, value in chosen.items():
        section, _, key = name.partition(".")
        sections[section][key] = value
    fit, head = replace(run.settings.fit, **sections["fit"]), run.settings.head | sections["head"]
    return replace(run, settings=replace(run.settings, fit=fit, head=head))


def search_facts(run: RunContext) -> dict[str, Any]:
    """Describe for scores.json what each part tried and chose, and the settings of the probe to keep."""
    searched = {part: search.as_dict() for part, search in run.searched.items()}
    return {"settings": run.settings.as_dict(), "search": searched} if searched else {}


def _search(
    run: RunContext, task: Task, metric: str, judge_part: Callable[[RunContext, Part], Judgement]
) -> RunContext:
    """Search for each part, which knows nothing of the others. The returned settings are those of the probe to keep.

    They are the median over the parts of each setting, the lower one of two: nobody is judged by them.
    """
    asked, settings = run.settings.search, run.settings
    space = search_space(run.probe, asked.space.fit, asked.space.head)
    given = {f"fit.{name}": value for name, value in asdict(settings.fit).items()}
    given |= {f"head.{name}": value for name, value in settings.head.items()}
    record = {
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
        "search.sobol": asked.sobol,
        **given,
        **{f"search.space.{name}": ends for name, ends in space.items()},
    }
    plan = SearchPlan(
        space, metric, record, asked.trials, sobol=asked.sobol, seed=settings.fit.seed, given=given,
        overwrite=settings.overwrite,
    )  # fmt: skip
    progress, found = run.bar.task("search"), {}
    for number, part in enumerate(task.parts):
        seen = validation_view(part)

        def evaluate(tried: Settings, seen: Part = seen) -> float:
            return judge_part(with_chosen(run, tried), seen).summary(metric)[0]

        shown = within(progress, number, len(task.parts))
        found[part.name] = search(evaluate, plan, run.folder / SEARCH / str(number), progress=shown)
        values = ", ".join(f"{name} {value:.3g}" for name, value in found[part.name].chosen.items())
        run.bar.say(f"{part.name}: trial {found[part.name].best} is best, with {values}")
    kept = {name: median_low(search.chosen[name] for search in found.values()) for name in space}
    return replace(with_chosen(run, kept), searched=found)
