"""What a folder says about the encoder in it: a run's YAML, logs and machine, a conversion's source, a probe's scores."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # type: ignore[import-untyped]

from oscine.cli.pretrain import SETTINGS
from oscine.models.errors import OscineError
from oscine.models.facts import Benchmark, Data, Facts, Run, Scores, Source, choose_licence
from oscine.models.hub import WEIGHTS, load_pretrained
from oscine.models.publish import SOURCE
from oscine.models.weights import file_hash
from oscine.models.zoo import LOCAL, PUBLISHED
from oscine.pretrain.machine import read_machine
from oscine.pretrain.run import ENCODER, LOGS, STATE, loss_curve
from oscine.pretrain.states import resumable


def gather(
    path: Path, repository: str, tag: str, licence: str | None, data: Sequence[str], scores: Sequence[str]
) -> tuple[Path, Facts]:
    """The folder of the encoder that a run's or an encoder's folder holds, loaded strictly, and what is known of it."""
    run_folder, folder = find_encoder(path)
    encoder = load_pretrained(folder)
    sha256 = file_hash(folder / WEIGHTS)
    source = read_source(folder / SOURCE)
    run = read_run(run_folder) if run_folder else None
    facts = Facts(
        repository,
        tag,
        encoder,
        sha256,
        choose_licence(licence, source),
        [read_data(text) for text in data] or known_data(run, source),
        run,
        [read_scores(text, sha256) for text in scores],
        source,
    )
    names = [score.name for score in facts.scores]
    if len(set(names)) < len(names):
        raise OscineError(f"scores of the same name ({', '.join(names)}); run `oscine probe` with another --name")
    return folder, facts


def find_encoder(path: Path) -> tuple[Path | None, Path]:
    """The run's folder, if there is one, and the encoder's."""
    path = Path(str(path).removeprefix(LOCAL))
    if path.name == ENCODER and (path.parent / LOGS).is_dir():
        path = path.parent
    if not (path / LOGS).is_dir():
        return None, path
    if not (path / ENCODER).is_dir():
        hint = "--resume finishes it" if resumable(path / STATE) else "it has kept nothing"
        raise OscineError(f"the run in {path} has not ended and has no {ENCODER} yet; {hint}")
    return path, path / ENCODER


def read_run(folder: Path) -> Run:
    curve = loss_curve(folder)
    text = (folder / SETTINGS).read_text(encoding="utf-8") if (folder / SETTINGS).exists() else None
    settings: dict[str, Any] = yaml.safe_load(text) if text else {}
    terms = {str(name): curve[name].dropna() for name in curve.columns if str(name).startswith("loss")}
    return Run(
        steps=int(settings["recipe"]["steps"] if settings else curve.index[-1] + 1),
        losses={name: (float(values.iloc[0]), float(values.iloc[-1])) for name, values in terms.items() if len(values)},
        seconds=seconds_spent(folder),
        machine=read_machine(folder / LOGS),
        settings=text,
        init=settings.get("init"),
        recordings=Path(settings["data"]["recordings"]).name if settings else None,
    )


def seconds_spent(folder: Path) -> float | None:
    """Wall time from the first to the last thing logged, over all resumptions of a run; None where none can be told."""
    spent = 0.0
    for file in (folder / LOGS).glob("version_*/events.out.tfevents.*"):
        times = [event.wall_time for event in EventFileLoader(str(file)).Load()]
        spent += max(times) - min(times) if times else 0.0
    return spent or None


def read_source(path: Path) -> Source | None:
    try:
        return Source(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise OscineError(f"{path} is not what `oscine convert` writes ({error}); convert again") from None


def read_data(text: str) -> Data:
    """NAME or NAME=LICENCE."""
    name, _, licence = text.partition("=")
    return Data(name, licence) if licence else Data(name)


def known_data(run: Run | None, source: Source | None) -> list[Data]:
    if source:
        return [Data(row.data) for row in PUBLISHED if row.name == source.model]
    return [Data(run.recordings)] if run and run.recordings else []


def read_scores(text: str, sha256: str) -> Scores:
    """FILE or FILE=OWNER/DATASET:TASK:METRIC, which must be of the weights with that hash."""
    benchmark = re.fullmatch(r"(.+)=([\w.-]+/[\w.-]+):([\w.-]+):(\w+)", text)
    path = Path(benchmark[1] if benchmark else text)
    try:
        whole = path.read_bytes()
        content = json.loads(whole)
        settings, found = content["settings"], content["weights"]["sha256"]
        metrics = [name for name, value in content["mean"].items() if value is not None]
        folds = {name: [part[name] for part in content["parts"].values() if part[name] is not None] for name in metrics}
        scores = Scores(settings["name"], settings["probe"], Path(settings["table"]).stem, folds, whole)
    except OSError as error:
        raise OscineError(f"{path} cannot be read ({error.strerror}); expected a scores.json") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise OscineError(f"{path} is no scores.json of `oscine probe`; expected one") from None
    if found != sha256:
        raise OscineError(f"{path} judges weights with sha256 {found}, these have {sha256}; probe these")
    if benchmark is None:
        return scores
    if benchmark[4] not in folds:
        raise OscineError(f"{path} has no {benchmark[4]}; it has {', '.join(folds)}")
    return scores._replace(benchmark=Benchmark(*benchmark.groups()[1:]))
