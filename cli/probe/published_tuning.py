"""What the papers of two families of encoders fine-tune with: Bird-MAE's (arXiv 2504.12880) and BAT's (2602.16305)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import Namespace

from oscine.models.errors import OscineError
from oscine.models.hub.encoder_files import CONFIG, encoder_folder
from oscine.models.json_text import read_json
from oscine.models.zoo import ARCHITECTURES, HUB, LOCAL, PUBLISHED
from oscine.probe.tasks.settings import BIRDSET

MAES = ["AudioMAE", "BirdMAE"]  # encoders of Bird-MAE's kind, by the names of their classes
Values = dict[str, Any]  # by dotted names, such as fit.lr

BIRD_MAE: Values = {
    "fit.lr": 3e-4, "fit.weight_decay": 3e-4, "fit.beta2": 0.95, "fit.clip": 2.0,
    "tuning.layer_decay": 0.75, "tuning.drop_path": 0.1, "tuning.loudness": True, "tuning.gain": 0.2,
    "tuning.mix": 0.9, "tuning.noise": 0.2, "tuning.noise_snr": [3.0, 30.0],
    "tuning.masks": 0.3, "tuning.time_mask": 100, "tuning.freq_mask": 50,
}  # fmt: skip
BIRD_MAE_FEW_SHOT: Values = {"fit.lr": 4e-4}
BAT: Values = {
    "fit.lr": 5e-5, "fit.weight_decay": 0.05, "fit.beta2": 0.95, "fit.clip": None,
    "tuning.layer_decay": 0.75, "tuning.drop_path": 0.1, "tuning.noise": 0.3, "tuning.noise_snr": [5.0, 25.0],
    "tuning.masks": 1.0, "tuning.time_mask": 32, "tuning.freq_mask": 16,
}  # fmt: skip
AUDIOSET: Values = {
    "head.dropout": 0.2,
    "tuning.mixup": 0.9,
    "tuning.noise": 0.0,
    "tuning.masks": 2.0,
    "tuning.time_mask": 64,
}
HSN: Values = {
    "fit.steps": 10_000, "fit.warmup": 0.1, "fit.batch_size": 64, "head.dropout": 0.0, "tuning.hiss": 0.02,
}  # fmt: skip
# Of the 2M, mixup's chance is stated as 0.8 to 0.9.
BAT_TASKS: dict[str | None, Values] = {
    "audioset_20k": AUDIOSET | {"fit.steps": 40_000, "fit.warmup": 0.1, "fit.batch_size": 48},
    "audioset_2m": AUDIOSET | {"fit.steps": 200_000, "fit.warmup": 0.1, "fit.batch_size": 96, "fit.balanced": True},
    "esc50": {"fit.steps": 4_000, "fit.warmup": 0.1, "fit.batch_size": 48, "head.dropout": 0.2},
    "speech_commands": {"fit.steps": 10_000, "fit.warmup": 0.1, "fit.batch_size": 256, "head.dropout": 0.0},
    **dict.fromkeys(BIRDSET, HSN),  # HSN alone is published; the others are clips of the same kind
}


def with_published(
    asked: Namespace, content: Mapping[str, Any], shipped: bool, parse: Callable[[list[str]], Namespace]
) -> Namespace:
    """Settings of a fine-tuning, what its encoder's paper sets filled in below what was given.

    asked: as they are without; content: of CONFIG, whose numbers are given unless it is one that comes with oscine; parse:
    with arguments before all that were given.
    """
    paper, values = published_tuning(asked)
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        if shipped or key not in (content.get(section) or {}):
            sections.setdefault(section, {})[key] = value
    settings = parse(["--config", json.dumps(sections)])
    taken = [
        f"{section}.{key} {json.dumps(value)}"
        for section, table in sections.items()
        for key, value in table.items()
        if same(settings[section][key], value)
    ]
    print(f"fine-tuning as in {paper}: {', '.join(taken) or 'nothing that was not given'}")
    return settings


def same(one: Any, other: Any) -> bool:
    """Whether two values are one in JSON."""
    return json.loads(json.dumps(one)) == other


class Tuned(NamedTuple):
    """Settings of a paper, by their dotted names."""

    paper: str
    values: Values


def published_tuning(settings: Namespace) -> Tuned:
    """What the paper of an encoder's family sets, of those settings that there are (not every probe has a dropout).

    Encoders of neither family are fine-tuned as BAT is.
    """
    task, shots = settings.task.name, settings.task.shots
    if is_mae(settings.encoder):
        tuned = Tuned("arXiv 2504.12880", BIRD_MAE | (BIRD_MAE_FEW_SHOT if shots else {}))
    else:
        tuned = Tuned("arXiv 2602.16305", BAT | ({} if shots or settings.table else BAT_TASKS.get(task, {})))
    return tuned._replace(values={name: value for name, value in tuned.values.items() if name in settings})


def is_mae(encoder: str) -> bool:
    """Whether an encoder of that name is of Bird-MAE's kind; no weights are needed to know."""
    if encoder.startswith(HUB):
        repository, _, revision = encoder.removeprefix(HUB).partition("@")
        row = next((row for row in PUBLISHED if row.repository == repository), None)
        if row is None:
            from oscine.models.hub.download import fetch

            return _described_as_mae(fetch(repository, CONFIG, revision or None).path)
        encoder = row.name
    if encoder.startswith(LOCAL):
        return _described_as_mae(encoder_folder(encoder.removeprefix(LOCAL)) / CONFIG)
    known = ARCHITECTURES.get(encoder.partition(".")[0])
    return known is not None and known.encoder in MAES


def _described_as_mae(config: Path) -> bool:
    """What is wrong with the file is said by whoever loads the encoder."""
    try:
        content = read_json(config, "")
    except (OSError, OscineError):
        return False
    return isinstance(content, dict) and content.get("architecture") in MAES
