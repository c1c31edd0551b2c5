"""`oscine probe --finetune`: the encoder learns, too; with what its paper fine-tunes with, unless told otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import torch
from jsonargparse import Namespace

from oscine.cli.bench import Bench
from oscine.cli.command import Misuse, Parser
from oscine.cli.judging import PROBE, REPORT, Findings, curve_findings
from oscine.cli.tasks import digest
from oscine.models.mae import MAE
from oscine.models.vectors import fingerprint
from oscine.models.zoo import HUB, LOCAL, create_model
from oscine.probe.data import Task
from oscine.probe.encoding import Encoding
from oscine.probe.evidence import weigh
from oscine.probe.finetune import FineTuning, silent
from oscine.probe.fit import Judgement
from oscine.probe.portrait import portray
from oscine.probe.predictions import PREDICTIONS, predictions_of, write_predictions
from oscine.probe.report import write_report
from oscine.probe.saved import save_probe
from oscine.probe.tuning import TuningSettings
from oscine.probe.tuning_states import TuningStates

STATES = "states"  # in a run's folder, until it has ended
# What the encoders' papers fine-tune with, where it is not what a probe's YAML has anyway: arXiv 2504.12880, 2602.16305.
BIRD_MAE: dict[str, float] = {
    "fit.lr": 3e-4, "fit.weight_decay": 3e-4, "fit.beta2": 0.95, "fit.clip": 2.0,
    "tuning.layer_decay": 0.75, "tuning.drop_path": 0.1, "tuning.mix": 0.9, "tuning.noise": 0.2, "tuning.gain": 0.2,
    "tuning.masks": 0.3, "tuning.time_mask": 100, "tuning.freq_mask": 50,
}  # fmt: skip
BAT: dict[str, float | str] = {
    "fit.lr": 5e-5, "fit.weight_decay": 0.05, "fit.beta2": 0.95, "fit.clip": "null",
    "tuning.layer_decay": 0.75, "tuning.drop_path": 0.1, "tuning.noise": 0.3,
    "tuning.masks": 1, "tuning.time_mask": 32, "tuning.freq_mask": 16,
}  # fmt: skip
AUDIOSET: dict[str, float | str] = {"tuning.mixup": 0.9, "tuning.noise": 0, "tuning.masks": 2, "tuning.time_mask": 64}
BAT_TASKS: dict[str | None, dict[str, float | str]] = {
    "audioset_20k": {**AUDIOSET, "fit.steps": 40_000, "fit.warmup": 4_000},
    "audioset_2m": {
        **AUDIOSET,
        "fit.steps": 200_000,
        "fit.warmup": 20_000,
        "fit.batch_size": 96,
        "fit.balanced": "true",
    },
    "hsn": {"tuning.hiss": 0.02},
}


def add_tuning(made: Parser) -> None:
    """The arguments of fine-tuning."""
    made.add_argument(
        "--finetune",
        action="store_true",
        help="train the encoder, too; unless CONFIG has a section tuning, with what the encoder's paper has for --fit and "
        "--tuning, below what is given here",
    )
    made.add_class_arguments(TuningSettings, "tuning")
    made.add_argument("--resume", action="store_true", help="go on with a fine-tuning that has not ended")


def published(content: Mapping[str, Any], arguments: list[str]) -> list[str]:
    """The arguments that stand for an encoder's published settings; a CONFIG that says how to fine-tune needs none."""
    encoder = given(arguments, "--encoder") or content.get("encoder")
    asked = "--finetune" in arguments or content.get("finetune")
    if not asked or "tuning" in content or not encoder:
        return []
    task = given(arguments, "--task.name") or content.get("task", {}).get("name")
    settings = BIRD_MAE if is_mae(encoder) else BAT | BAT_TASKS.get(task, {})
    return [text for name, value in settings.items() for text in (f"--{name}", str(value))]


def given(arguments: list[str], option: str) -> str | None:
    """An option's value, looked for before all of them can be parsed."""
    found = None
    for argument, following in zip(arguments, [*arguments[1:], None]):
        name, equals, value = argument.partition("=")
        if name == option:
            found = value if equals else following
    return found


def is_mae(name: str) -> bool:
    """Whether an encoder is of Bird-MAE's kind; those of BAT's and all others fine-tune as BAT does."""
    if name.startswith((HUB, LOCAL)):
        return isinstance(create_model(name), MAE)
    with torch.device("meta"):  # no weights are needed
        return isinstance(create_model(name), MAE)


def check_tuning(settings: Namespace, moments: bool) -> None:
    """Refuse settings that do not go together."""
    if not settings.finetune:
        if settings.resume:
            raise Misuse("--resume goes on with a fine-tuning; what was encoded is kept without it: leave it out")
        return
    apart = {
        "--embeddings": settings.embeddings, "--layer_scores": settings.layer_scores,
        "--search.trials": settings.search.trials, str(settings.task.name): moments,
    }  # fmt: skip
    if found := next((name for name, there in apart.items() if there), None):
        raise Misuse(f"--finetune trains on clips, whose features change: {found} does not go with it; leave one out")
    if settings.resume and settings.overwrite:
        raise Misuse("--resume goes on with what --overwrite throws away; give one of them")


def begin(bench: Bench, task: Task) -> tuple[FineTuning, TuningStates]:
    """What a call of the command fine-tunes, and the states that it keeps; what cannot be is refused before either."""
    settings = bench.settings
    plan = FineTuning(
        bench.maker(task), bench.encoder, task, bench.fit, TuningSettings(**settings.tuning.as_dict()), settings.seconds,
        settings.batch_size, settings.workers,
    )  # fmt: skip
    return plan, TuningStates(bench.folder / STATES, facts_of(bench, task), settings.resume, settings.overwrite)


def facts_of(bench: Bench, task: Task) -> dict[str, Any]:
    """All that changes a result, by name."""
    settings = bench.settings
    sections = {name: settings[name].as_dict() for name in ("task", "head", "fit", "tuning")}
    flat = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    return flat | {
        "encoder": settings.encoder, "weights": fingerprint(bench.encoder), "probe": settings.probe,
        "seconds": settings.seconds, "rows": digest(task),
    }  # fmt: skip


def tune_clips(bench: Bench, task: Task, name: str) -> Findings:
    """What `judge_clips` does, of an encoder that learns."""
    (plan, states), settings = begin(bench, task), bench.settings
    judgement = plan.judge(states, bench.bar.task("fine-tune"))
    bench.bar.say("how sure that is")
    evidence = weigh(judgement, task)
    found = judgement.as_dict() | {"evidence": evidence.as_dict()}

    def rest() -> None:
        write_predictions(bench.folder / PREDICTIONS, predictions_of(judgement, task))
        bench.bar.say("the probe to keep, and the report")
        progress = bench.bar.task("fine-tune on all folds") if len(task.parts) > 1 else silent
        save_probe(plan.kept(judgement, bench.head, states, progress, name), bench.folder / PROBE)
        encoder = plan.first_encoder(states)
        features = Encoding(encoder, task, judgement.probes[0].needs, plan.seconds, plan.batch_size, "float32")
        title = bench.title(name)
        page = portray(title, settings.as_dict(), encoder, task, judgement, features, evidence, seconds=plan.seconds)
        write_report(page, bench.folder / REPORT)
        states.end()

    return Findings(found, {name: found}, rest)


def tune_shots(bench: Bench, task: Task, name: str) -> Findings:
    """What `judge_shots` does, of an encoder that learns anew from every draw."""
    (plan, states), progress, draws = begin(bench, task), bench.bar.task("fine-tune"), count(1)

    def judge_draw(drawn: Task) -> Judgement:
        return replace(plan, task=drawn).judge(states, progress, f"draw-{next(draws)}-", keep=False)

    found = curve_findings(bench, task, name, judge_draw)

    def rest() -> None:
        found.rest()
        states.end()

    return found._replace(rest=rest)
