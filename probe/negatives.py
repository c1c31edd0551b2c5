"""What no class sounds like, for the probe that is kept: digital silence, noise, and field recordings without labels.

A classifier that has met its classes alone names one of them in silence. So the probe that is kept for one's own recordings
learns from such clips, too, answers for every class by itself (sigmoid), and says how often it still errs on others of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pandas import DataFrame
from torch import Tensor

from oscine.models.audio import audio_info
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.features import Features
from oscine.models.scan import find_recordings
from oscine.probe.arguments import THRESHOLD
from oscine.probe.choice import as_probabilities
from oscine.probe.class_names import listed, means_no_class, plain
from oscine.probe.data import LabelledClips, Task, as_columns
from oscine.probe.encoding import encode_waveforms
from oscine.probe.fit import FeatureSource, FitSettings, Judgement, Progress, judge, predict, prepare, silent, within
from oscine.probe.fitted import FittedProbe, keep_probe
from oscine.probe.probe import Needs, Probe
from oscine.probe.report import Report
from oscine.probe.saved_facts import misfits

logger = logging.getLogger(__name__)

SILENCE, NOISE, BACKGROUND = "silence", "noise", "background"
SHARE = 0.1  # of the clips that are learnt from is silence or noise, a quarter of it silence
LEAST = 12  # such clips, of which nine are noise of every colour at every level
CLIPS = 36  # of noise, in each of the draws; silence is one clip, which all of it is like
COLOURS = (0.0, 0.5, 1.0)  # white, pink and brown noise: amplitudes are 1 / frequency ** colour
LOWEST = 50.0  # Hz; below, brown noise would have nearly all of its power, which no encoder hears
QUANTILES = (0.1, 0.5, 0.9)  # of the recordings' levels, at which noise is made
LEVEL = 0.05  # root mean square of noise where no recording can be read
READ = 64  # clips whose level is measured
MOST = 2000  # clips of background recordings, and never more than labelled ones
FOLDS = 5  # one of so many background recordings is kept from a split's probe, to measure it
# Odds of a threshold, as a multiple of the highest odds on silence and noise. On the chorus' soundscapes (five probes, 15
# minutes of other noise) 1 leaves 2 detections in noise, 1.5 none; F1 is 0.540 and 0.537, without thresholds raised 0.542
# with 82 detections, and 0.478 at 3.
MARGIN = 1.5
LOST = 0.5  # of its own clips that a class may lose by that, else it sounds like noise and keeps its threshold


class Rate(NamedTuple):
    """How often a probe errs on clips in which no class sounds. detections: pairs of clip and class."""

    clips: int
    seconds: float
    detections: int

    @property
    def per_hour(self) -> float:
        return self.detections * 3600 / self.seconds


@dataclass(frozen=True)
class Negatives:
    """Features of clips in which no class sounds, all of one length in seconds.

    learnt, raised, measured  a clip of silence, then noise, of which each is another draw
    background                clips of field recordings, if there are some; `recordings`: of which one each is, by number
    """

    seconds: float
    learnt: Features
    raised: Features
    measured: Features
    background: FeatureSource | None = None
    recordings: tuple[int, ...] = ()


def make_negatives(
    encoder: Encoder, needs: Needs, task: Task, seconds: float | None = None, batch_size: int = 16, seed: int = 0
) -> Negatives:
    """Silence, and noise at the levels of a task's recordings; features as `needs` takes them."""
    seconds = seconds or encoder.seconds
    levels = np.quantile(measure_levels(task, encoder.sample_rate, seconds, seed), QUANTILES)
    samples = round(seconds * encoder.sample_rate)

    def draw(number: int) -> Features:
        noise = make_noise(CLIPS, samples, encoder.sample_rate, levels, np.random.default_rng([seed, number]))
        return encode_waveforms(encoder, [torch.zeros(samples), *noise], needs, seconds, batch_size)

    return Negatives(seconds, draw(0), draw(1), draw(2))


def make_noise(
    clips: int, samples: int, sample_rate: int, levels: Sequence[float] | np.ndarray, random: np.random.Generator
) -> Tensor:
    """Noise of every colour at every level (root mean square) in turn, [clips, samples], from `LOWEST` Hz on."""
    frequencies = np.fft.rfftfreq(samples, 1 / sample_rate)
    audible = frequencies >= LOWEST
    found = np.empty((clips, samples), np.float32)
    for clip in range(clips):
        spectrum = np.fft.rfft(random.standard_normal(samples)) * audible
        spectrum /= np.maximum(frequencies, LOWEST) ** COLOURS[clip % len(COLOURS)]
        noise = np.fft.irfft(spectrum, samples)
        found[clip] = noise * (levels[clip // len(COLOURS) % len(levels)] / noise.std())
    return torch.from_numpy(found).clamp(-1.0, 1.0)


def measure_levels(task: Task, sample_rate: int, seconds: float, seed: int = 0) -> list[float]:
    """The root mean square of some of a task's clips; `LEVEL` where none can be read or all are silent."""
    order = np.random.default_rng(seed).permutation(len(task.rows))[:READ]
    clips, found = LabelledClips(task.rows.iloc[order], sample_rate, seconds), []
    for number in range(len(clips)):
        try:
            found.append(clips[number].square().mean().sqrt().item())
        except OscineError:  # a table of embeddings may have outlived its recordings
            continue
    return [level for level in found if level > 0] or [LEVEL]


def background_task(folder: Path, seconds: float, most: int = MOST) -> tuple[Task, tuple[int, ...]]:
    """Clips of a folder's recordings, from all over them, as a task without classes; of which recording each is.

    Recordings that cannot be read are left out and logged. most: clips.
    """
    lengths, rows = {}, list[tuple[str, float, float, int]]()
    for path in find_recordings(folder):
        try:
            lengths[str(path)] = audio_info(path).seconds
        except OscineError as error:
            logger.warning("background recording left out: %s", error)
    for recording, (name, length) in enumerate(lengths.items()):
        clips = max(1, int(length // seconds))
        rows += [(name, number * seconds, (number + 1) * seconds, recording) for number in range(clips)]
    if not rows:
        raise OscineError(f"no recording in {folder} can be read; --background needs some, or leave it out")
    rows = rows[:: -(-len(rows) // min(MOST, most))]
    table = DataFrame(rows, columns=["path", "start", "end", "recording"])
    recordings = tuple(table.pop("recording"))
    return Task(table, [], torch.zeros(len(table), 0), []), recordings


def keep_with_negatives(
    make_probe: Callable[[], Probe],
    head: dict[str, object],
    encoder: Encoder,
    features: FeatureSource,
    task: Task,
    judgement: Judgement,
    settings: FitSettings,
    negatives: Negatives,
    name: str = "",
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> FittedProbe:
    """The probe that is worth keeping, as `keep_probe` finds it, of the task's classes and none of them.

    It learns from the negatives as well and answers for every class by itself. Scaling and thresholds come from clips that
    were not learnt from, and no threshold is within reach of silence and noise. Arguments as for `keep_probe`.
    """
    joined, source = join(task, features, negatives)
    settings = replace(settings, loss=None if settings.loss == "cross_entropy" else settings.loss)
    parts = len(task.parts)  # each a fit, and then one on all of them
    if task.single_label or negatives.background is not None or parts == 1:

        def shown(done: int, total: int) -> None:
            progress(done, total + (total // parts) * (parts > 1))

        judged = judge(make_probe, source, joined, settings, shown, device)
    else:  # its probes are not kept, and what they say of the task's clips is as good as what others would
        judged = judgement
    # What background recordings get is measured, so that nothing is chosen by it.
    labelled = [part.test < len(task.rows) for part in joined.parts]
    chosen_by = replace(judged, logits=[logits[own] for logits, own in zip(judged.logits, labelled)])
    choosing = [part._replace(test=part.test[own]) for part, own in zip(joined.parts, labelled)]
    fitted = keep_probe(
        make_probe, head, encoder, source, replace(joined, parts=choosing), chosen_by, settings, negatives.seconds, name,
        device, within(progress, parts, parts + 1) if judged is not judgement else progress,
    )  # fmt: skip
    rows = len(torch.cat([part.train for part in task.parts]).unique())
    fitted = replace(fitted, fitted_on=fitted.fitted_on | {"rows": rows}, scores=judgement.as_dict()["mean"])
    background = None
    if negatives.background is not None:
        background = torch.cat([logits[~own] for logits, own in zip(judged.logits, labelled)])
    return out_of_reach(fitted, negatives, task, chosen_by, background)


def out_of_reach(
    fitted: FittedProbe, negatives: Negatives, task: Task, judgement: Judgement, background: Tensor | None = None
) -> FittedProbe:
    """A fitted probe with thresholds above what it says of silence and noise, and with how often it still errs.

    A class that sounds like noise, as rain does, keeps its threshold and is not counted, which is logged: one that is called
    so, or that would lose more than `LOST` of its own clips. judgement: by the probes of the task's parts, whose logits of
    clips that they have not learnt from tell that. background: logits [clips, classes] of recordings without labels, by
    probes that have not learnt from them either.
    """

    def probabilities(logits: Tensor) -> Tensor:  # [clips, classes]
        return as_probabilities(logits.double(), fitted.single_label, fitted.scaling)

    def said(features: Features) -> Tensor:
        prepared = prepare(fitted.probe, features, fitted.encoder.device)
        return probabilities(predict(fitted.probe, prepared, torch.arange(len(features.pooled))))

    needed = beyond(said(negatives.raised).amax(0))
    thresholds = torch.full_like(needed, THRESHOLD) if fitted.thresholds is None else fitted.thresholds.to(needed)
    rows = torch.cat([part.test for part in task.parts])
    own = as_columns(task.targets[rows], len(task.classes)).bool()
    answers = probabilities(torch.cat(judgement.logits))
    found, still = (((answers >= least) & own).sum(0) for least in (thresholds, torch.maximum(thresholds, needed)))
    noisy = torch.tensor([means_no_class(name) for name in fitted.classes]) | (still < (1 - LOST) * found)
    raised = torch.where(noisy, thresholds, torch.maximum(thresholds, needed))
    for column in (noisy & (needed > thresholds)).nonzero().flatten().tolist():
        logger.warning(
            "%s sounds like noise: a threshold above noise, %.3f, would leave %d of the %d clips that are found of it at "
            "%.3f; it stays there, and noise may be taken for it",
            fitted.classes[column], needed[column], still[column], found[column], thresholds[column],
        )  # fmt: skip
    if fitted.thresholds is not None or (raised > thresholds).any():
        fitted = replace(fitted, thresholds=raised)

    def rate(answers: Tensor) -> Rate:
        errs = (answers >= raised) & ~noisy
        return Rate(len(errs), len(errs) * negatives.seconds, int(errs.sum()))

    measured = said(negatives.measured)
    rates = {SILENCE: rate(measured[:1]), NOISE: rate(measured[1:])}
    if background is not None and len(background):
        rates[BACKGROUND] = rate(probabilities(background))
    facts = {kind: one._asdict() for kind, one in rates.items()}
    names = [name for name, is_noisy in zip(fitted.classes, noisy.tolist()) if is_noisy]
    return replace(fitted, fitted_on=fitted.fitted_on | {"negatives": facts, "sounds_like_noise": names})


def beyond(most: Tensor) -> Tensor:
    """Thresholds that are well above the most that clips of no class reach, both probabilities."""
    most = most.clamp(max=1 - 1e-9)
    return MARGIN * most / (1 + (MARGIN - 1) * most)


def join(task: Task, features: FeatureSource, negatives: Negatives) -> tuple[Task, FeatureSource]:
    """The task with rows of no class behind its own, and the features of all.

    Silence and noise are learnt from in every part, each clip so often that they are `SHARE` of what is learnt. Background
    recordings are dealt out to the parts, which are judged on theirs and learn from the others.
    """
    total = len(task.rows)
    learnt = min((len(part.train) for part in task.parts), default=0)
    wanted = max(LEAST, round(learnt * SHARE / (1 - SHARE)))
    silence, noise = [0] * (wanted // 4), [1 + number % CLIPS for number in range(wanted - wanted // 4)]
    sources: list[tuple[FeatureSource, Tensor]] = [
        (features, torch.arange(total)),
        (negatives.learnt, torch.tensor([*silence, *noise])),
    ]
    everywhere = torch.arange(total, total + wanted)
    recordings = torch.tensor(negatives.recordings, dtype=torch.long)
    if negatives.background is not None:
        sources.append((negatives.background, torch.arange(len(recordings))))
    parts, folds = [], len(task.parts) if len(task.parts) > 1 else FOLDS
    # In blocks: neighbours by name are of one place and night. Of a split, the last recordings are measured, if not all.
    blocks = folds - 1 - recordings * folds // (1 + int(recordings.max())) if len(recordings) else recordings
    for number, part in enumerate(task.parts):
        own = (blocks == number) & (
            recordings > 0 if len(task.parts) == 1 else torch.ones_like(blocks, dtype=torch.bool)
        )
        mine, others = (total + wanted + torch.nonzero(which)[:, 0] for which in (own, ~own))
        parts.append(
            part._replace(train=torch.cat([part.train, everywhere, others]), test=torch.cat([part.test, mine]))
        )
    known = as_columns(task.targets, len(task.classes))
    nothing = torch.zeros(wanted + len(recordings), *known.shape[1:], dtype=known.dtype)
    for column, name in enumerate(task.classes):  # where labels that mean no class are kept as classes
        if means_no_class(name):
            nothing[: len(silence), ..., column] = plain(name) != NOISE
            nothing[len(silence) : wanted, ..., column] = plain(name) != SILENCE
    rows = task.rows.reset_index(drop=True).reindex(range(total + len(nothing)))
    return Task(rows, task.classes, torch.cat([known, nothing]), parts), Joined(sources)


class Joined:
    """Features of rows that lie in several sources, one behind the other.

    sources: each with the numbers that its rows have in it, in their order.
    """

    def __init__(self, sources: Sequence[tuple[FeatureSource, Tensor]]) -> None:
        self.sources = sources
        self.ends = np.cumsum([len(places) for _, places in sources])

    def take(self, rows: Tensor, /) -> Features:
        owners = torch.from_numpy(np.searchsorted(self.ends, rows.numpy(), side="right"))
        taken, order = [], []
        for number, (source, places) in enumerate(self.sources):
            here = torch.nonzero(owners == number)[:, 0]
            if len(here):
                first = self.ends[number] - len(places)
                taken.append(source.take(places[rows[here] - first]))
                order.append(here)
        back = torch.cat(order).argsort()
        return Features(
            torch.cat([part.cls for part in taken], 1)[:, back],
            torch.cat([part.patches for part in taken], 1)[:, back],
            torch.cat([part.pooled for part in taken])[back],
        )


def describe_rates(fitted: FittedProbe) -> str:
    """Detections of each kind of clips in which no class sounds, in words; empty where none were measured."""
    found, noisy = rates_of(fitted), fitted.fitted_on.get("sounds_like_noise")
    text = ", ".join(
        f"{rate.per_hour:.3g} an hour of {kind} ({rate.seconds / 60:.2g} min)" for kind, rate in found.items()
    )
    return f"{text}; {listed(noisy)} aside, as noise" if text and noisy else text


def rates_of(fitted: FittedProbe) -> dict[str, Rate]:
    """What was measured when a probe was kept; nothing where its file says what cannot be."""
    facts = fitted.fitted_on.get("negatives")
    if not isinstance(facts, dict):
        return {}
    kinds = {"clips": int, "seconds": float, "detections": int}
    right = all(isinstance(rate, dict) and not misfits(rate, kinds) and rate["seconds"] > 0 for rate in facts.values())
    return {str(kind): Rate(**{name: rate[name] for name in kinds}) for kind, rate in facts.items()} if right else {}


def show_negatives(page: Report, fitted: FittedProbe) -> None:
    """How often the kept probe detects something where no class sounds."""
    rates, noisy = rates_of(fitted), fitted.fitted_on.get("sounds_like_noise")
    if not rates:
        return
    page.heading("Where no class sounds")
    page.paragraph(
        "The thresholds of the probe that is kept for predict are above what it says of silence and noise; unless it was "
        "fine-tuned, it has learnt from some, too. Below: what it detects in other noise, in digital silence, which is the "
        "same everywhere, and in background recordings, if there were any, of which the probe that is measured has learnt "
        "nothing. A clip and a class are one detection. Three minutes without any may still be a few in an hour. The scores "
        "above are of probes without all that."
    )
    page.table(
        ["", "clips", "minutes", "detections", "an hour"],
        [
            [kind, str(rate.clips), f"{rate.seconds / 60:.1f}", str(rate.detections), f"{rate.per_hour:.3g}"]
            for kind, rate in rates.items()
        ],
    )
    if noisy:
        page.paragraph(
            f"{listed(noisy)} sounds like noise: a threshold above noise would lose most of its clips, so that it keeps its "
            "own and is not counted here; noise may be taken for it."
        )
