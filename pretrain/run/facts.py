"""Gather what a folder says about the encoder in it: a run's YAML, logs and hardware, where its weights came from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # type: ignore[import-untyped]

from oscine.models.files import strip_local_paths
from oscine.models.hub.model_name import LOCAL
from oscine.models.publish.facts import Facts, Run, encoder_facts
from oscine.models.publish.terms import Terms
from oscine.models.text.yaml_text import as_yaml, parse_yaml
from oscine.models.zoo import create_model
from oscine.pretrain.run.files import LOGS, find_encoder
from oscine.pretrain.run.metrics import loss_curve
from oscine.pretrain.run.record import read_hardware, read_record


def gather_facts(path: Path, terms: Terms) -> tuple[Path, Facts]:
    """Return the folder of a run's or an encoder's encoder, loaded strictly, and what is known of it."""
    run, folder = find_encoder(path)
    encoder, known = create_model(f"{LOCAL}{folder}"), read_run(run, folder) if run else None
    return folder, encoder_facts(encoder, terms, known)


def read_run(run: Path, folder: Path) -> Run:
    """Read what a run has written down of the encoder in a folder of it, up to the step that encoder was left at."""
    record = read_record(run, folder)
    curve = loss_curve(run).loc[: record.step - 1]  # steps count from zero
    settings: dict[str, Any] = {}
    if record.settings:
        settings = strip_local_paths(parse_yaml(record.settings, folder, "train again"))
    terms = {str(name): curve[name].dropna() for name in curve.columns if str(name).startswith("loss")}
    data = settings.get("data")
    recordings = data.get("recordings") if isinstance(data, dict) else None  # a folder or file, or a list of files
    return Run(
        steps=record.step,
        losses={name: (float(values.iloc[0]), float(values.iloc[-1])) for name, values in terms.items() if len(values)},
        seconds=seconds_spent(run, record.step),
        machine=read_hardware(run / LOGS),
        settings=as_yaml(settings) if settings else None,
        init=settings.get("init"),
        recordings=f"{len(recordings)} recordings"
        if isinstance(recordings, list)
        else Path(str(recordings or "")).name,
    )


def seconds_spent(run: Path, step: float = math.inf) -> float | None:
    """Return the wall time from the first to the last log before a step, over all resumptions; None without logs."""
    spent = 0.0
    for file in (run / LOGS).glob("version_*/events.out.tfevents.*"):
        times = [event.wall_time for event in EventFileLoader(str(file)).Load() if event.step < step]
        spent += max(times) - min(times) if times else 0.0
    return spent or None
