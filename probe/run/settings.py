"""Settings of a probe's run; refuse what arguments and files alone show to be wrong, without torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from oscine.models.audio.scan import scan_folder
from oscine.models.encoders.base.devices import AUTO, check_device
from oscine.models.encoders.base.features import check_layers
from oscine.models.errors import Misuse, OscineError
from oscine.models.files import as_path, check_name, did_you_mean
from oscine.models.json_text import check_fields, differences, read_json
from oscine.models.plugins.classes import parameters_of
from oscine.models.replace_outputs import has_fields
from oscine.models.settings_checks import check_kind, check_settings
from oscine.models.zoo import check_encoder, outline_of
from oscine.probe.finetune.settings import TuningSettings, not_trainable
from oscine.probe.fit.search_space import SearchSettings, check_optuna, search_space
from oscine.probe.fit.settings import FitSettings, check_selection
from oscine.probe.heads.registry import PROBES
from oscine.probe.heads.settings import CALLED, HEADS, is_framewise, no_patches
from oscine.probe.results.run_files import BEGUN, SCORES, STATES, check_replaceable, recover, was_stopped
from oscine.probe.tasks.open import Clips, asks_for_frames, check_task, read_clips
from oscine.probe.tasks.settings import BIRDSET, ClipSettings

logger = logging.getLogger(__name__)

AGAIN = "--overwrite begins anew"
MACHINE = {
    "device",
    "batch_size",
    "workers",
    "runs",
    "store",
    "store_gb",
}  # where and how fast a run goes, not what it is
# Where published tasks are found.
SOURCES = {
    **{
        name: "hf download DBD-research-group/BirdSet --repo-type dataset --revision data "
        f'--include "{name.upper()}/*" --local-dir BirdSet brings it, for --data BirdSet/{name.upper()}'
        for name in BIRDSET
    },
    **dict.fromkeys(("esc50", "esc10"), "git clone https://github.com/karolpiczak/ESC-50 brings it, for --data ESC-50"),
    "speech_commands": "it is http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz, unpacked",
    **dict.fromkeys(
        ("audioset_20k", "audioset_2m"), "its lists are at research.google.com/audioset, its clips on YouTube"
    ),
    "dcase2016": "it is one of the open tasks of hearbenchmark.com, at 48 kHz",
}


@dataclass(frozen=True, kw_only=True)
class ProbeRunSettings(ClipSettings):
    """Settings of `run_probe`; all but `called` are options of `oscine probe`, by the same names.

    Args:
        name: of the run.
        encoder: a model's name, hf-hub:OWNER/REPOSITORY, local-dir:FOLDER, or onnx-file:FILE.onnx.
        probe: the probe's class.
        called: the probe's name beside other runs and in published tables, such as cgp; None is by its class. No option.
        runs: folder that holds the runs.
        random_weights: judge the architecture without training: a baseline.
        seconds: length of a clip, if not the encoder's.
        batch_size: clips that are encoded at once; 1 on a CPU, else 16.
        workers: processes that read and resample.
        device: where it runs: cpu, cuda, mps; auto: the best that is there.
        store: folder of encoded clips; null: in memory, once.
        store_gb: the most that it may hold; for new ones, those go that were not used for longest, and none that is in use.
        embeddings: instead of encoding: a table by `oscine embed`.
        layer_scores: score every layer by itself, too, for the report.
        head: the probe's own settings, by name; those that are left out have the probe's defaults.
        fit: how the probe is fitted.
        finetune: train the encoder, too. Unlike the probe of a frozen encoder it does not learn from silence and noise, its
            thresholds alone are above them; tuning.background lays field recordings over clips.
        tuning: how, if it is trained.
        search: for settings of fit and head, before the probe is judged.
        resume: go on with a fine-tuning that has not ended.
        overwrite: replace the scores of this name.
    """

    name: str
    encoder: str
    probe: str = "LinearProbe"
    called: str | None = None
    runs: Path = Path("runs/probe")
    random_weights: bool = False
    seconds: float | None = None
    batch_size: int | None = None
    workers: int = 2
    device: str = AUTO
    store: Path | None = Path("runs/features")
    store_gb: float = 100.0
    embeddings: Path | None = None
    layer_scores: bool = False
    head: dict[str, Any] = field(default_factory=dict)
    fit: FitSettings = field(default_factory=FitSettings)
    finetune: bool = False
    tuning: TuningSettings = field(default_factory=TuningSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("runs", "store", "embeddings"):
            as_path(self, name)
        for name, kind in (("fit", FitSettings), ("tuning", TuningSettings), ("search", SearchSettings)):
            check_kind(self, name, kind)
        for name, value in (("seconds", self.seconds), ("batch_size", self.batch_size), ("store_gb", self.store_gb)):
            if value is not None and not value > 0:
                raise Misuse(f"{name} is {value}, expected more than 0")
        if self.workers < 0:
            raise Misuse(f"workers is {self.workers}, expected 0 (read in the main process) or more")

    @property
    def folder(self) -> Path:
        """Return the folder of the run."""
        return self.runs / self.name

    @property
    def probe_name(self) -> str:
        """Name the probe as other runs and published tables do, such as cgp or fine-tuned-prototypical."""
        plain = CALLED.get(self.probe, self.probe.removesuffix("Probe").lower())
        return "fine-tuned-" * self.finetune + (self.called or plain)

    def whole_head(self) -> dict[str, Any]:
        """Fill in the probe's settings that were left out; raise for what it does not have, or cannot be."""
        if kind := HEADS.get(self.probe):
            check_settings(self.probe, self.head, [one.name for one in fields(kind)])
            return vars(kind(**self.head))
        known = parameters_of(PROBES[self.probe]).keys() - {"encoder", "classes"}
        check_settings(self.probe, self.head, known)
        return self.head

    def as_dict(self) -> dict[str, Any]:
        """Describe for the run's files: all but what is asked for now."""
        settings = asdict(self)
        return {name: value for name, value in settings.items() if name not in ("called", "resume", "overwrite")}


def check_run(settings: ProbeRunSettings) -> Clips:
    """Refuse what settings and files alone show to be wrong, before torch is imported; return the clips that were read.

    A run that a killed call was replacing is put back first.
    """
    check_name(settings.name)
    recover(settings.folder)
    check_replaceable(settings.folder, settings.overwrite or settings.resume or finishes(settings))
    settings.whole_head()
    if settings.finetune and settings.tuning.background:
        scan_folder(settings.tuning.background)
    if not settings.table and not settings.data and (name := settings.task.name) in SOURCES:
        raise Misuse(
            f"no --data FOLDER, where {name} lies; {SOURCES[name]}; or give --table FILE.csv, labelled clips of yours"
        )
    check_task(settings)
    _check_together(settings, asks_for_frames(settings))
    search = settings.search
    if search.trials:
        if settings.task.shots:
            raise Misuse("--search.trials chooses by all clips, --task.shots learns from a few; give either")
        check_optuna()
        search_space(head_of(settings.probe), search.space.fit, search.space.head)
    check_encoder(settings.encoder, None, settings.random_weights)
    _check_reads(settings)
    check_device(settings.device)
    if settings.embeddings and not settings.embeddings.is_file():
        meant = did_you_mean(settings.embeddings, "check the path of --embeddings")
        raise OscineError(f"no table {settings.embeddings}; {meant}")
    if settings.embeddings:
        from oscine.models.embed.table import read_schema  # pyarrow, which --help does without

        read_schema(settings.embeddings)
    clips = read_clips(settings)
    if clips.table:
        check_selection(settings.fit.select_every, clips.table.splits)
    return clips


def finishes(settings: ProbeRunSettings) -> bool:
    """Return whether a run of these settings was stopped before its report.

    It is then judged again, which is logged. One that fine-tunes has states, with which --resume goes on.
    """
    path = settings.folder / SCORES
    if settings.finetune or not was_stopped(settings.folder) or not has_fields(path, ("settings",)):
        return False
    was = read_json(path, AGAIN)["settings"]
    now = replace(settings, head=settings.whole_head()).as_dict()
    if not isinstance(was, dict) or differences(was, json.loads(json.dumps(now, default=str)), aside=MACHINE):
        return False
    logger.info("%s was stopped before its probe and report were written: it is judged again", settings.folder)
    return True


def after_stop(settings: ProbeRunSettings) -> str:
    """Say what a run that was stopped has left, and which call goes on with it."""
    if settings.finetune and (settings.folder / STATES / BEGUN).is_file():
        instead = " instead of --overwrite" if settings.overwrite else ""
        return f"{settings.folder / STATES} has how far it was; --resume{instead} goes on"
    if was_stopped(settings.folder):
        return f"{settings.folder} has its scores; the same call makes its probe and report"
    if settings.store and not settings.embeddings:
        return f"features that were encoded are kept below {settings.store}; the same call goes on with them"
    return "the same call begins anew"


def as_begun(settings: ProbeRunSettings, given: Collection[str] = ()) -> ProbeRunSettings | None:
    """Take head, fit and tuning from the fine-tuning that was begun in the run's folder; None where none was.

    given: names, such as fit.lr, of those that stay as they are here.
    """
    path = settings.folder / STATES / BEGUN
    if not path.is_file():
        return None
    sections: dict[str, dict[str, Any]] = {
        "head": settings.head,
        "fit": vars(settings.fit),
        "tuning": vars(settings.tuning),
    }
    begun = {name: dict(section) for name, section in sections.items()}
    for name, value in check_fields(read_json(path, AGAIN), {}, path, AGAIN).items():
        section, _, key = name.partition(".")
        if key in sections.get(section, {}) and name not in given:
            begun[section][key] = value
    fit, tuning = FitSettings(**begun["fit"]), TuningSettings(**begun["tuning"])
    return replace(settings, head=begun["head"], fit=fit, tuning=tuning)


def head_of(probe: str) -> type[Any]:
    """Return what says which settings a probe has: a dataclass without torch, or the class itself of a user's probe."""
    return HEADS.get(probe) or PROBES[probe]


def _check_together(settings: ProbeRunSettings, frames: bool) -> None:
    """Refuse settings that do not go together."""
    _check_tuning(settings, frames)
    if is_framewise(settings.head.get("pool")) != frames:
        raise Misuse("--head.pool frames gives logits for every moment, which dcase2016 asks for, and no other task")
    if settings.embeddings and (settings.seconds or settings.layer_scores):
        raise Misuse(
            "--seconds and --layer_scores ask for clips to be encoded, --embeddings has them encoded; give either"
        )
    if settings.layer_scores and (frames or settings.task.shots):
        raise Misuse("--layer_scores is for clips of which all may be learnt from; leave it out")
    if settings.background and (settings.finetune or settings.task.shots):
        raise Misuse(
            "--background is learnt from by the probe that is kept, of a frozen encoder and all clips; leave it out, or "
            "--finetune (which has --tuning.background) and --task.shots"
        )
    if settings.seconds and frames:
        raise Misuse("--seconds cuts clips, but dcase2016 asks for whole recordings; leave it out")


def _check_reads(settings: ProbeRunSettings) -> None:
    """Refuse what the encoder lacks, a layer, patches or gradients, as far as its row or config.json tells it."""
    outline, layer = outline_of(settings.encoder), settings.whole_head().get("layer")
    if outline.depth and isinstance(layer, int):
        check_layers([layer], outline.depth)
    if outline.spatial is False and head_of(settings.probe).spatial:
        raise OscineError(no_patches(settings.probe, settings.encoder))
    if outline.trainable is False and settings.finetune:
        raise OscineError(not_trainable(settings.encoder))


def _check_tuning(settings: ProbeRunSettings, frames: bool) -> None:
    if not settings.finetune:
        if settings.resume:
            raise Misuse("--resume goes on with a fine-tuning; what was encoded is kept without it: leave it out")
        return
    apart = {
        "--embeddings": settings.embeddings, "--layer_scores": settings.layer_scores,
        "--search.trials": settings.search.trials, str(settings.task.name): frames,
    }  # fmt: skip
    if found := next((name for name, there in apart.items() if there), None):
        raise Misuse(f"fine-tuning trains on clips, whose features change: {found} does not go with it; leave one out")
    if settings.resume and settings.overwrite:
        raise Misuse("--resume goes on with what --overwrite throws away; give one of them")
