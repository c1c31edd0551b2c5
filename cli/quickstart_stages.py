"""The two stages of `oscine quickstart`: what comes with oscine is probed, then recipes are pretrained and probed, too.

Every row of the table is kept in a file once it is judged, and every recipe in its run's states: what is done is not done
again.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch

from oscine.cli.console import config
from oscine.cli.quickstart import DETECTIONS, JUDGED
from oscine.models import Encoder, create_model
from oscine.models.audio.clip_random import derive_seed
from oscine.models.embed.progress import Bar
from oscine.models.encoders.base.features import Features
from oscine.models.files import common_folder
from oscine.models.hub.folder import load_pretrained
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.methods import METHODS
from oscine.pretrain.run.files import ENCODER, STATE, resumable
from oscine.pretrain.run.health import Health
from oscine.pretrain.run.pictures import Pictures
from oscine.pretrain.run.record import step_of
from oscine.pretrain.run.run import ProgressCallback, fit_recipe, make_trainer, quiet_lightning, write_settings
from oscine.probe.deploy.fitted import ProbeFit
from oscine.probe.deploy.negatives import make_negatives
from oscine.probe.features.encoding import encode_task
from oscine.probe.fit.baselines import judge_vectors, log_mel_statistics
from oscine.probe.fit.judge import FitSettings, Progress
from oscine.probe.heads.registry import PROBES
from oscine.probe.report.soundscapes import detect_in_soundscapes, read_soundscapes, soundscapes_of, write_soundscapes
from oscine.probe.results.encoder_scores import (
    LOGISTIC,
    NEEDS,
    Scored,
    judge_encoder,
    read_scored,
    scored,
    write_scored,
)
from oscine.probe.tasks.chorus import make_chorus
from oscine.probe.tasks.splits import LabelledTable, read_labelled
from oscine.probe.tasks.task import as_task

LOG_MEL = "log-mel statistics"
Rows = dict[str, Scored]  # by what the features are of


class Stages:
    """A run's settings, its task, and what it makes in two stages.

    plan: configs/quickstart.yaml. table, labelled: None makes the chorus; else a table and what it holds. steps: of every
    recipe.
    """

    def __init__(
        self,
        plan: dict[str, Any],
        out: Path,
        table: Path | None,
        labelled: LabelledTable | None,
        seed: int,
        steps: int,
        bar: Bar,
    ) -> None:
        self.plan, self.out, self.seed, self.steps, self.bar = plan, out, seed, steps, bar
        made = None if table else make_chorus(out / f"chorus_{seed}", seed, plan["clips"], progress=bar.task("chorus"))
        self.table = table or made or Path()
        self.task = as_task(labelled or read_labelled(self.table, negatives=False))
        self.recordings = soundscapes_of(self.table, self.task)

    @property
    def embedded(self) -> str:
        """The encoder that comes with oscine."""
        return str(self.plan["embedded"])

    @property
    def is_chorus(self) -> bool:
        """Whether the data is the one that quickstart makes."""
        return self.table.parent.parent == self.out

    @property
    def recipes(self) -> list[str]:
        return list(self.plan["recipes"])

    def first(self) -> Rows:
        """Log-mel statistics, the encoder that comes with oscine, with its detections, and its twin with random weights."""
        return {LOG_MEL: self.log_mel(), self.embedded: self.shipped(), **self.twin(self.embedded.partition(".")[0])}

    def second(self, rows: Rows) -> Rows:
        """The same rows, then every recipe's encoder, pretrained here, and its twin."""
        for name, overrides in self.plan["recipes"].items():
            self.pretrain(name, overrides)
        for name in self.recipes:
            rows = (
                rows | {name: self.judged(name, partial(load_pretrained, self.out / name / ENCODER))} | self.twin(name)
            )
        return rows

    def log_mel(self) -> Scored:
        path = self.kept(LOG_MEL)
        if (found := read_scored(path)) is None:
            seconds = create_model(self.embedded.partition(".")[0]).seconds
            found = Scored({LOGISTIC: judge_vectors(log_mel_statistics(self.task, seconds), self.task)})
            write_scored(path, found)
        return found

    def shipped(self) -> Scored:
        """Judged as every encoder is; with the same features its detections in soundscapes."""
        found = read_scored(self.kept(self.embedded))
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
        """The row of an encoder's twin with random weights."""
        number = self.recipes.index(name)

        def random() -> Encoder:
            torch.manual_seed(derive_seed(self.seed, 2 * number + 1))
            return create_model(**config.read(config.find("pretrain", name))["encoder"]).eval()

        return {untrained(name): self.judged(untrained(name), random)}

    def judged(self, row: str, make_encoder: Any) -> Scored:
        """What is kept of a row, or the row judged now."""
        if (found := read_scored(self.kept(row))) is not None:
            return found
        encoder = make_encoder()
        return self.judge(row, encoder, self.features(row, encoder))

    def features(self, row: str, encoder: Encoder) -> Features:
        return encode_task(encoder, self.task, NEEDS, progress=self.bar.task(f"encode with {row}"))

    def judge(self, row: str, encoder: Encoder, features: Features) -> Scored:
        def progress(probe: str) -> Progress:
            return self.bar.task(f"{probe} on {row}")

        found = scored(judge_encoder(encoder, features, self.task, self.plan["probes"], self.seed, progress))
        write_scored(self.kept(row), found)
        return found

    def kept(self, row: str) -> Path:
        return self.out / JUDGED / f"{row.replace(', ', '_').replace(' ', '_')}.pt"

    def pretrain(self, name: str, overrides: dict[str, Any]) -> None:
        """A recipe of the zoo, run on the waveforms of the whole table, or picked up where it stopped."""
        folder, steps = self.out / name, self.steps
        if step_of(folder / ENCODER) == steps:
            return
        plan = config.read(config.find("pretrain", name))
        lightning.seed_everything(self.seed, verbose=False)
        settings, read = plan["recipe"] | {"steps": steps}, plan["data"] | overrides
        recipe = METHODS[plan["method"]](create_model(**plan["encoder"]), **settings)
        recordings = sorted(set(self.task.rows["path"]))
        log_every = max(1, steps // 100)
        with quiet_lightning():
            trainer = make_trainer(
                recipe,
                folder,
                save_every=max(1, steps // 10),
                log_every=log_every,
                callbacks=[
                    ProgressCallback(self.bar.task(f"pretrain {name}"), log_every),
                    Health(
                        max(1, steps // 15), warns=False
                    ),  # runs as short as these come near a collapse; the page shows it
                    Pictures(folder, steps),
                ],
                enable_progress_bar=False,
                enable_model_summary=False,
                **plan["trainer"],
            )
            folder.mkdir(parents=True, exist_ok=True)
            place = common_folder(recordings)
            write_settings(folder, plan | {"seed": self.seed, "recipe": settings, "data": read | {"recordings": place}})
            data = PretrainingData(recordings, **read, seed=self.seed)
            fit_recipe(trainer, recipe, data, folder, resume=resumable(folder / STATE))


def untrained(name: str) -> str:
    """The row of an encoder's twin with random weights."""
    return f"{name.partition('.')[0]}, random"
