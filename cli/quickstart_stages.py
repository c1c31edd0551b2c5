"""Run the two stages of `oscine quickstart`: probe what comes with oscine; pretrain and probe each recipe.

Every row of the table is kept in a file once it is judged, and every recipe in its run's states: what is done is not done
again.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from oscine.cli.console import config
from oscine.cli.quickstart_call import DETECTIONS, JUDGED, Call
from oscine.models import Encoder, create_model
from oscine.models.audio.clip_random import derive_seed
from oscine.models.encoders.base.features import Features
from oscine.models.hub.folder import load_pretrained
from oscine.models.progress import Bar, ShowProgress
from oscine.pretrain.run.callbacks import ProgressCallback
from oscine.pretrain.run.files import ENCODER
from oscine.pretrain.run.health import Health
from oscine.pretrain.run.record import step_of
from oscine.pretrain.run.run import prepare_run, run_checked
from oscine.pretrain.run.settings import PretrainingRunSettings
from oscine.pretrain.settings import DataSettings, TrainerSettings
from oscine.probe.deploy.fitted_probe import ProbeFit
from oscine.probe.deploy.negatives import make_negatives
from oscine.probe.features.encoding import encode_task
from oscine.probe.fit.baselines import judge_vectors, log_mel_statistics
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.registry import PROBES
from oscine.probe.report.soundscapes import detect_in_soundscapes, read_soundscapes, soundscapes_of, write_soundscapes
from oscine.probe.results.encoder_scores import (
    LOGISTIC,
    NEEDS,
    EncoderScores,
    judge_encoder,
    read_encoder_scores,
    write_encoder_scores,
)
from oscine.probe.tasks.chorus import make_chorus
from oscine.probe.tasks.splits import LabelledTable, read_labelled
from oscine.probe.tasks.task import as_task

LOG_MEL = "log-mel statistics"
Rows = dict[str, EncoderScores]  # by what the features are of


class Stages:
    """Makes the data of a run, and judges and pretrains encoders in two stages.

    labelled: what the table of the call holds, if it names one.
    """

    def __init__(self, asked: Call, labelled: LabelledTable | None, bar: Bar) -> None:
        self.plan, self.out, self.seed, self.steps, self.bar = asked.plan, asked.out, asked.seed, asked.steps, bar
        self.table = asked.table or make_chorus(
            self.out / f"chorus_{self.seed}", self.seed, self.plan["clips"], progress=bar.task("chorus")
        )
        self.task = as_task(labelled or read_labelled(self.table, negatives=False))
        self.recordings = soundscapes_of(self.table, self.task)
        self.recipes, self.embedded = asked.recipes, str(self.plan["embedded"])  # the encoder that comes with oscine
        self.is_chorus = self.table.parent.parent == self.out

    def first(self) -> Rows:
        """Judge log-mel statistics, the encoder that comes with oscine, with its detections, and its twin."""
        return {LOG_MEL: self.log_mel(), self.embedded: self.shipped(), **self.twin(self.embedded.partition(".")[0])}

    def second(self, rows: Rows) -> Rows:
        """Pretrain the recipes, and add the rows of their encoders, each with its twin."""
        for name, overrides in self.plan["recipes"].items():
            self.pretrain(name, overrides)
        for name in self.recipes:
            rows = rows | {name: self.judged(name, partial(load_pretrained, self.out / name / ENCODER))}
            rows = rows | self.twin(name)
        return rows

    def log_mel(self) -> EncoderScores:
        path = self.kept(LOG_MEL)
        if (found := read_encoder_scores(path)) is None:
            seconds = create_model(self.embedded.partition(".")[0]).seconds
            found = EncoderScores({LOGISTIC: judge_vectors(log_mel_statistics(self.task, seconds), self.task)})
            write_encoder_scores(path, found)
        return found

    def shipped(self) -> EncoderScores:
        """Judge the encoder that comes with oscine; with the same features detect in soundscapes."""
        found = read_encoder_scores(self.kept(self.embedded))
        detected = not self.recordings or read_soundscapes(self.recordings, self.out / DETECTIONS) is not None
        if found is None or not detected:
            encoder = self.encoder()
            features = self.features(self.embedded, encoder)
            if not detected:
                self.detect(encoder, features)
            found = found or self.judge(self.embedded, encoder, features)
        return found

    def encoder(self) -> Encoder:
        return create_model(self.embedded, pretrained=True)

    def detect(self, encoder: Encoder, features: Features) -> None:
        chosen = self.plan["detections"]
        make_probe = partial(PROBES[chosen["probe"]], encoder, len(self.task.classes), **chosen["head"])
        fit = FitSettings(**chosen["fit"], seed=self.seed)
        self.bar.say(f"detections in {len(self.recordings)} soundscapes")
        negatives = make_negatives(encoder, NEEDS, self.task, seed=self.seed, early=False)
        probe_fit = ProbeFit(make_probe, chosen["head"], encoder, features, self.task, fit)
        found = detect_in_soundscapes(probe_fit, self.recordings, negatives)
        write_soundscapes(found, self.out / DETECTIONS)

    def twin(self, name: str) -> Rows:
        """Judge an encoder's twin with random weights."""

        def random() -> Encoder:
            torch.manual_seed(derive_seed(self.seed, 2 * self.recipes.index(name) + 1))
            return create_model(**config.read(config.find("pretrain", name))["encoder"]).eval()

        return {untrained(name): self.judged(untrained(name), random)}

    def judged(self, row: str, make_encoder: Any) -> EncoderScores:
        """Return what is kept of a row, or judge it now."""
        if (found := read_encoder_scores(self.kept(row))) is None:
            encoder = make_encoder()
            found = self.judge(row, encoder, self.features(row, encoder))
        return found

    def features(self, row: str, encoder: Encoder) -> Features:
        return encode_task(encoder, self.task, NEEDS, progress=self.bar.task(f"encode with {row}"))

    def judge(self, row: str, encoder: Encoder, features: Features) -> EncoderScores:
        def progress(probe: str) -> ShowProgress:
            return self.bar.task(f"{probe} on {row}")

        probes, seed = self.plan["probes"], self.seed
        found = EncoderScores.of(
            judge_encoder(encoder, features, self.task, probes=probes, seed=seed, progress=progress)
        )
        write_encoder_scores(self.kept(row), found)
        return found

    def kept(self, row: str) -> Path:
        return self.out / JUDGED / f"{row.replace(', ', '_').replace(' ', '_')}.pt"

    def pretrain(self, name: str, overrides: dict[str, Any]) -> None:
        """Pretrain a recipe of the zoo on the waveforms of the whole table, or go on with it where it stopped."""
        folder, steps = self.out / name, self.steps
        if step_of(folder / ENCODER) == steps:
            return
        plan = config.read(config.find("pretrain", name))
        recordings = [Path(path) for path in sorted(set(self.task.rows["path"]))]
        settings = PretrainingRunSettings(
            **plan
            | {
                "name": name,
                "runs": self.out,
                "seed": self.seed,
                "recipe": plan["recipe"] | {"steps": steps},
                "data": DataSettings(**plan["data"] | overrides, recordings=recordings),
                "trainer": TrainerSettings(**plan["trainer"]),
                "save_every": max(1, steps // 10),
                "log_every": max(1, steps // 100),
                "health_every": 0,
                "pictures_every": steps,
                "resume": True,
            }
        )
        # Runs as short as these come near a collapse; the page shows it.
        health = Health(max(1, steps // 15), warns=False)
        progress = ProgressCallback(self.bar.task(f"pretrain {name}"), settings.log_every)
        # There is a run to resume, then; its settings follow from those of quickstart, which were checked.
        prepare_run(folder, settings.as_dict())
        run_checked(settings, callbacks=[progress, health])


def untrained(name: str) -> str:
    """Name the row of an encoder's twin with random weights."""
    return f"{name.partition('.')[0]}, random"
