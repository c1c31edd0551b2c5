"""What a folder says about the encoder in it: a run's YAML, logs and machine, a conversion's source, a probe's scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # type: ignore[import-untyped]

from oscine.models.files import without_places
from oscine.models.publish.facts import Facts, Run, Terms, encoder_facts
from oscine.models.yaml_text import as_yaml, parse_yaml
from oscine.models.zoo import LOCAL, create_model
from oscine.pretrain.run.files import ENCODER, LOGS, find_encoder
from oscine.pretrain.run.hardware import read_machine
from oscine.pretrain.run.metrics import loss_curve
from oscine.pretrain.run.record import read_record


def gather(path: Path, terms: Terms) -> tuple[Path, Facts]:
    """The folder of the encoder that a run's or an encoder's folder holds, loaded strictly, and what is known of it."""
    run, folder = find_encoder(path)
    encoder, known = create_model(f"{LOCAL}{folder}"), read_run(run) if run else None
    return folder, encoder_facts(encoder, terms, known)


def read_run(folder: Path) -> Run:
    record = read_record(folder, folder / ENCODER)
    curve = loss_curve(folder)
    settings: dict[str, Any] = {}
    if record.settings:
        settings = without_places(parse_yaml(record.settings, folder / ENCODER, "train again"))
    terms = {str(name): curve[name].dropna() for name in curve.columns if str(name).startswith("loss")}
    data = settings.get("data")
    recordings = data.get("recordings") if isinstance(data, dict) else None  # a folder or file, or a list of files
    return Run(
        steps=record.step,
        losses={name: (float(values.iloc[0]), float(values.iloc[-1])) for name, values in terms.items() if len(values)},
        seconds=seconds_spent(folder),
        machine=read_machine(folder / LOGS),
        settings=as_yaml(settings) if settings else None,
        init=settings.get("init"),
        recordings=f"{len(recordings)} recordings"
        if isinstance(recordings, list)
        else Path(str(recordings or "")).name,
    )


def seconds_spent(folder: Path) -> float | None:
    """Wall time from the first to the last thing logged, over all resumptions of a run; None where none can be told."""
    spent = 0.0
    for file in (folder / LOGS).glob("version_*/events.out.tfevents.*"):
        times = [event.wall_time for event in EventFileLoader(str(file)).Load()]
        spent += max(times) - min(times) if times else 0.0
    return spent or None
