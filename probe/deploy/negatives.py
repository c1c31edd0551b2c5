"""Teach the probe that is kept what no class sounds like: digital silence, noise, field recordings without labels.

A classifier that has met its classes alone names one of them in silence. So the probe that is kept for one's own recordings
learns from such clips, too, answers for every class by itself (sigmoid), and says how often it still errs on others of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple, get_type_hints

import numpy as np
import torch
from pandas import DataFrame
from torch import Tensor

from oscine.models.audio.load import audio_info
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.errors import OscineError
from oscine.models.progress import ShowProgress, show_nothing
from oscine.probe.deploy.arguments import THRESHOLD
from oscine.probe.deploy.fitted_probe import FittedProbe, ProbeFit, keep_probe
from oscine.probe.deploy.probe_json import wrong_types
from oscine.probe.features.encoding import encode_waveforms
from oscine.probe.fit.judge import FeatureSource, Judgement, predict, prepare, within
from oscine.probe.heads.probe import Needs
from oscine.probe.metrics.decisions import as_probabilities
from oscine.probe.tasks.class_names import listed, means_no_class, plain
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import LabelledClips, Task, as_columns

logger = logging.getLogger(__name__)

SILENCE, NOISE, BACKGROUND = "silence", "noise", "background"
NEGATIVE_SHARE = 0.1  # of the clips that are learnt from is silence or noise, a quarter of it silence
LEAST_NEGATIVES = 24  # such clips, of which 18 are noise
SILENCE_CLIPS, NOISE_CLIPS = 4, 36  # in each draw
EARLY = 5  # one of so many clips ends early; no multiple of the number of colours, so that every colour does
LOWEST_FREQUENCY = 50.0  # Hz; below, brown noise would have nearly all of its power, which no encoder hears
LEVEL = 0.05  # root mean square of noise where no recording can be read
LEVEL_CLIPS = 64  # whose level is measured
DITHER = 2.0**-15  # the last bit of 16; a recorder's silence is rarely digital
BACKGROUND_CLIPS = 2000  # at most, and never more than labelled ones
FOLDS = 5  # one of so many background recordings is kept from a split's probe, to measure it
# Odds of a threshold, as a multiple of the highest odds on silence and noise. On the chorus' soundscapes (five probes, 15
# minutes of other noise) 1 leaves 2 detections in noise, 1.5 none; F1 is 0.540 and 0.537, without thresholds raised 0.542
# with 82 detections, and 0.478 at 3.
MARGIN = 1.5
FINETUNED = "fine-tuned, it has not learnt from them"
LARGEST_LOSS = 0.5  # of its own clips that a class may lose by that, else it sounds like noise and keeps its threshold


class NoiseKinds(NamedTuple):
    """Colours and levels of noise.

    colours    amplitudes are 1 / frequency ** colour: 0 is white, 0.5 pink, 1 brown, more a rumble
    quantiles  of the levels of a task's recordings: half of the clips are as loud, half softer, down to `DITHER`
    """

    colours: tuple[float, ...]
    quantiles: tuple[float, float]

    def levels(self, found: Sequence[float], clips: int, random: np.random.Generator) -> np.ndarray:  # [clips]
        """Draw root mean squares, spread evenly (in decibels), where those of a task's recordings are known."""
        low, high = np.log(np.quantile(found, self.quantiles))
        shares = (np.arange(clips) + random.random(clips)) / clips * 2  # to 1 soft ones, to 2 loud ones
        return random.permutation(np.exp(np.interp(shares, (0, 1, 2), (min(low, np.log(DITHER)), low, high))))


LEARNT = NoiseKinds((0.0, 0.5, 1.0, 1.5), (0.1, 0.9))  # and what thresholds are above
MEASURED = NoiseKinds((0.0, 0.25, 0.75, 1.25), (0.02, 0.98))  # of other colours, softer and louder


class FalsePositives(NamedTuple):
    """How often a probe errs on clips in which no class sounds. detections: pairs of clip and class."""

    clips: int
    seconds: float
    detections: int

    @property
    def per_hour(self) -> float:
        return self.detections * 3600 / self.seconds

    def describe(self, kind: str) -> str:
        """Say how many there were in how long; of a few minutes, none is no rate."""
        minutes = f"{self.seconds / 60:.2g} min of {kind}"
        if self.detections:
            return f"{self.detections} in {minutes} ({self.per_hour:.3g} an hour)"
        return f"none in {minutes}"


@dataclass(frozen=True)
class Negatives:
    """Features of clips in which no class sounds, all of one length in seconds.

    to_learn        clips of silence, then of noise
    for_thresholds  another draw of the same
    to_measure      by `SILENCE` and `NOISE`: clips that neither the probe nor its thresholds have met, see `MEASURED`
    background      clips of field recordings, if there are some; `recordings`: of which one each is, by number
    """

    seconds: float
    to_learn: Features
    for_thresholds: Features
    to_measure: dict[str, Features]
    background: FeatureSource | None = None
    recordings: tuple[int, ...] = ()


def make_negatives(
    encoder: Encoder,
    needs: Needs,
    task: Task,
    *,
    seconds: float | None = None,
    batch_size: int = 16,
    seed: int = 0,
    early: bool = True,
) -> Negatives:
    """Make silence, and noise at the levels of a task's recordings; features as `needs` takes them.

    early: whether some clips end early, as the last one of a recording does. Of a frame-wise probe, whose frames after the
    end are nobody's, none does.
    """
    seconds = seconds or encoder.seconds
    levels = measure_levels(task, encoder.sample_rate, seconds, seed)
    samples = round(seconds * encoder.sample_rate)

    def encoded(*waveforms: Tensor) -> Features:
        return encode_waveforms(encoder, waveforms, needs, seconds, batch_size)

    def draw(number: int, kinds: NoiseKinds) -> list[list[Tensor]]:  # silence and noise
        random = np.random.default_rng([seed, number])
        found = kinds.levels(levels, NOISE_CLIPS, random)
        silence = make_silence(samples, random)
        noise = make_noise(found, samples, encoder.sample_rate, colours=kinds.colours, random=random)
        return [end_early(clips, random) if early else list(clips) for clips in (silence, noise)]

    to_learn, for_thresholds = (encoded(*chain(*draw(number, LEARNT))) for number in (0, 1))
    silence, noise = draw(2, MEASURED)
    return Negatives(seconds, to_learn, for_thresholds, {SILENCE: encoded(*silence), NOISE: encoded(*noise)})


def make_silence(samples: int, random: np.random.Generator) -> Tensor:  # [clips, samples]
    """Make `SILENCE_CLIPS` clips: half of them digital silence, half with the dither of 16 bits."""
    dither = random.random((2, samples), np.float32) - random.random((2, samples), np.float32)
    return torch.cat([torch.from_numpy(dither * DITHER), torch.zeros(SILENCE_CLIPS - 2, samples)])


def make_noise(
    levels: Iterable[float], samples: int, sample_rate: int, *, colours: Sequence[float], random: np.random.Generator
) -> Tensor:  # [clips, samples]
    """Make a clip of noise of each level (root mean square), from `LOWEST_FREQUENCY` on, of the colours in turn."""
    frequencies = np.fft.rfftfreq(samples, 1 / sample_rate)
    kept = frequencies >= LOWEST_FREQUENCY
    clips = []
    for number, level in enumerate(levels):
        spectrum = np.fft.rfft(random.standard_normal(samples)) * kept
        spectrum /= np.maximum(frequencies, LOWEST_FREQUENCY) ** colours[number % len(colours)]
        noise = np.fft.irfft(spectrum, samples)
        clips.append((noise * (level / noise.std())).astype(np.float32))
    return torch.from_numpy(np.stack(clips)).clamp(-1.0, 1.0)


def end_early(clips: Tensor, random: np.random.Generator) -> list[Tensor]:  # [samples] at most
    """Cut the last and every `EARLY` th clip before that short, to a random length."""
    lengths = [round(random.uniform(0.1, 1.0) * clips.shape[1]) for _ in clips]
    last = len(clips) - 1
    return [
        clip if (last - number) % EARLY else clip[:length] for number, (clip, length) in enumerate(zip(clips, lengths))
    ]


def measure_levels(task: Task, sample_rate: int, seconds: float, seed: int = 0) -> list[float]:
    """Measure the root mean square of some of a task's clips; `LEVEL` where none can be read or all are silent."""
    order = np.random.default_rng(seed).permutation(len(task.rows))[:LEVEL_CLIPS]
    clips, found = LabelledClips(task.rows.iloc[order], sample_rate, seconds), []
    for number in range(len(clips)):
        try:
            found.append(clips[number].square().mean().sqrt().item())
        except OscineError:  # a table of embeddings may have outlived its recordings
            continue
    return [level for level in found if level > 0] or [LEVEL]


def background_task(
    recordings: Sequence[Path], seconds: float, most: int = BACKGROUND_CLIPS
) -> tuple[Task, tuple[int, ...]]:
    """Make clips from all over recordings a task without classes; return of which recording each clip is, too.

    Recordings that cannot be read are left out and logged. most: clips.
    """
    lengths, rows = {}, list[tuple[str, float, float, int]]()
    for path in recordings:
        try:
            lengths[str(path)] = audio_info(path).seconds
        except OscineError as error:
            logger.warning("background recording left out: %s", error)
    for recording, (name, length) in enumerate(lengths.items()):
        clips = max(1, int(length // seconds))
        rows += [(name, number * seconds, (number + 1) * seconds, recording) for number in range(clips)]
    if not rows:
        raise OscineError(
            f"none of the {len(recordings)} background recordings can be read, such as {recordings[0]}; --background needs "
            "some, or leave it out"
        )
    rows = rows[:: -(-len(rows) // min(BACKGROUND_CLIPS, most))]
    table = DataFrame(rows, columns=["path", "start", "end", "recording"])
    numbers = tuple(table.pop("recording"))
    return Task(table, [], torch.zeros(len(table), 0), []), numbers


def keep_with_negatives(
    fit: ProbeFit, judgement: Judgement, negatives: Negatives, progress: ShowProgress = show_nothing
) -> FittedProbe:
    """Return the probe that is worth keeping, as `keep_probe` finds it, which knows that a clip may have no class.

    It learns from the negatives as well and answers for every class by itself. Scaling and thresholds come from clips that
    were not learnt from, and no threshold is within reach of silence and noise. judgement: of the task without negatives.
    """
    task, features = add_negatives(fit.task, fit.features, negatives)
    loss = None if fit.settings.loss == "cross_entropy" else fit.settings.loss
    extended = replace(
        fit, task=task, features=features, settings=replace(fit.settings, loss=loss), seconds=negatives.seconds
    )
    parts = len(task.parts)  # each a fit, and then one on all of them
    if fit.task.kind is TaskKind.SINGLE or negatives.background is not None or parts == 1:

        def progress_of_parts(done: int, total: int) -> None:
            progress(done, total + (total // parts) * (parts > 1))

        judged, last = extended.judge(progress_of_parts), within(progress, parts, parts + 1)
    else:  # its probes are not kept, and what they say of the task's clips is as good as what others would
        judged, last = judgement, progress
    # What background recordings get is measured, so that nothing is chosen by it.
    labelled = [part.test < len(fit.task.rows) for part in task.parts]
    chosen_by = replace(judged, logits=[logits[own] for logits, own in zip(judged.logits, labelled)])
    choosing = [part._replace(test=part.test[own]) for part, own in zip(task.parts, labelled)]
    fitted = keep_probe(replace(extended, task=replace(task, parts=choosing)), chosen_by, last)
    rows = len(torch.cat([part.train for part in fit.task.parts]).unique())
    fitted = replace(fitted, fitted_on=fitted.fitted_on | {"rows": rows}, scores=judgement.as_dict()["mean"])
    background = None
    if negatives.background is not None:
        background = torch.cat([logits[~own] for logits, own in zip(judged.logits, labelled)])
    return raise_thresholds(fitted, negatives, task=fit.task, judgement=chosen_by, background=background)


def raise_thresholds(
    fitted: FittedProbe, negatives: Negatives, *, task: Task, judgement: Judgement, background: Tensor | None = None
) -> FittedProbe:
    """Raise a probe's thresholds above its answers to silence and noise, and count how often it still errs.

    A class that sounds like noise, as rain does, keeps its threshold and is not counted, which is logged: one that is called
    so, or that would lose more than `LARGEST_LOSS` of its own clips. judgement: by the probes of the task's parts, whose
    logits of clips that they have not learnt from tell that. background: logits [clips, classes] of recordings without
    labels, by probes that have not learnt from them either.
    """
    made = (negatives.for_thresholds, negatives.to_learn)
    above_noise = threshold_above(torch.cat([predict_clips(fitted, features) for features in made]).amax(0))
    chosen = torch.full_like(above_noise, THRESHOLD)
    chosen = chosen if fitted.thresholds is None else fitted.thresholds.to(above_noise)
    like_noise = find_like_noise(fitted, task, judgement, chosen=chosen, above_noise=above_noise)
    thresholds = torch.where(like_noise, chosen, torch.maximum(chosen, above_noise))
    if fitted.thresholds is not None or (thresholds > chosen).any():
        fitted = replace(fitted, thresholds=thresholds)

    def count(probabilities: Tensor) -> FalsePositives:
        wrong = (probabilities >= thresholds) & ~like_noise
        return FalsePositives(len(wrong), len(wrong) * negatives.seconds, int(wrong.sum()))

    counts = {kind: count(predict_clips(fitted, features)) for kind, features in negatives.to_measure.items()}
    if background is not None and len(background):
        counts[BACKGROUND] = count(to_probabilities(fitted, background))
    facts = {kind: one._asdict() for kind, one in counts.items()}
    names = [name for name, noisy in zip(fitted.classes, like_noise.tolist()) if noisy]
    return replace(fitted, fitted_on=fitted.fitted_on | {"negatives": facts, "sounds_like_noise": names})


def find_like_noise(
    fitted: FittedProbe, task: Task, judgement: Judgement, *, chosen: Tensor, above_noise: Tensor
) -> Tensor:  # [classes]
    """Find the classes that would lose most of their clips by a threshold above noise, or are called noise; log them."""
    rows = torch.cat([part.test for part in task.parts])
    own = as_columns(task.targets[rows], len(task.classes)).bool()
    probabilities = to_probabilities(fitted, torch.cat(judgement.logits))
    found, left = (((probabilities >= least) & own).sum(0) for least in (chosen, torch.maximum(chosen, above_noise)))
    called = torch.tensor([means_no_class(name) for name in fitted.classes])
    like_noise = called | (left < (1 - LARGEST_LOSS) * found)
    if like_noise.all():
        logger.warning(
            "every class sounds like noise: thresholds above noise would leave %d of the %d clips that are found without; "
            "each class keeps its own, and noise may be taken for any",
            left.sum(), found.sum(),
        )  # fmt: skip
        return like_noise
    for column in (like_noise & (above_noise > chosen)).nonzero().flatten().tolist():
        logger.warning(
            "%s sounds like noise: a threshold above noise, %.3f, would leave %d of the %d clips that are found of it at "
            "%.3f; it stays there, and noise may be taken for it",
            fitted.classes[column], above_noise[column], left[column], found[column], chosen[column],
        )  # fmt: skip
    return like_noise


def predict_clips(
    fitted: FittedProbe, features: Features
) -> Tensor:  # [clips, classes], frame-wise [clips, time, classes]
    """Compute a fitted probe's probabilities of clips whose features are not prepared yet."""
    prepared = prepare(fitted.probe, features, fitted.encoder.device)
    return to_probabilities(fitted, predict(fitted.probe, prepared, torch.arange(len(features.pooled))))


def to_probabilities(fitted: FittedProbe, logits: Tensor) -> Tensor:
    """Turn logits [..., classes] into the probabilities that a fitted probe makes of them."""
    return as_probabilities(logits.double(), fitted.kind, fitted.scaling)


def threshold_above(highest: Tensor) -> Tensor:
    """Return thresholds well above the highest probabilities of clips of no class, each [classes]."""
    highest = highest.clamp(max=1 - 1e-9)
    return MARGIN * highest / (1 + (MARGIN - 1) * highest)


def add_negatives(task: Task, features: FeatureSource, negatives: Negatives) -> tuple[Task, FeatureSource]:
    """Add rows of no class to a task, behind its own, and their features to its features.

    Silence and noise are learnt from in every part, each clip so often that they are `NEGATIVE_SHARE` of what is learnt.
    Background recordings are dealt out to the parts, which are judged on theirs and learn from the others.
    """
    total, learnt = len(task.rows), min((len(part.train) for part in task.parts), default=0)
    made = max(LEAST_NEGATIVES, round(learnt * NEGATIVE_SHARE / (1 - NEGATIVE_SHARE)))
    silence = made // 4
    places = [number % SILENCE_CLIPS for number in range(silence)]
    places += [SILENCE_CLIPS + number % NOISE_CLIPS for number in range(made - silence)]
    sources = [(features, torch.arange(total)), (negatives.to_learn, torch.tensor(places))]
    recordings = torch.tensor(negatives.recordings, dtype=torch.long)
    if negatives.background is not None:
        sources.append((negatives.background, torch.arange(len(recordings))))
    parts = [
        part._replace(
            train=torch.cat([part.train, torch.arange(total, total + made), total + made + learnt_from]),
            test=torch.cat([part.test, total + made + measured]),
        )
        for part, (learnt_from, measured) in zip(task.parts, deal_background(recordings, len(task.parts)))
    ]
    targets = torch.cat(
        [as_columns(task.targets, len(task.classes)), negative_targets(task, silence, made - silence, len(recordings))]
    )
    rows = task.rows.reset_index(drop=True).reindex(range(len(targets)))
    return Task(rows, task.classes, targets, parts), JoinedFeatures(sources)


def deal_background(recordings: Tensor, parts: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Deal background clips out to a task's parts: the clips that each learns from, and those that it is measured on.

    recordings: of which one every clip is. They go in blocks, as neighbours by name are of one place and night. Of a split,
    the last one of `FOLDS` blocks is measured, unless there is one recording only.
    """
    folds = parts if parts > 1 else FOLDS
    blocks = folds - 1 - recordings * folds // (1 + int(recordings.max())) if len(recordings) else recordings
    for number in range(parts):
        measured = blocks == number if parts > 1 else (blocks == number) & (recordings > 0)
        yield (~measured).nonzero()[:, 0], measured.nonzero()[:, 0]


def negative_targets(task: Task, silence: int, noise: int, background: int) -> Tensor:  # [clips, ..., classes]
    """Make targets of so many clips of silence, noise and background, in this order: none of a task's classes.

    Where labels that mean no class are kept as classes, they are those: silence of all but noise, noise of all but silence.
    """
    known = as_columns(task.targets, len(task.classes))
    targets = torch.zeros(silence + noise + background, *known.shape[1:], dtype=known.dtype)
    for column, name in enumerate(task.classes):
        if means_no_class(name):
            targets[:silence, ..., column] = plain(name) != NOISE
            targets[silence : silence + noise, ..., column] = plain(name) != SILENCE
    return targets


class JoinedFeatures:
    """The features of rows that lie in several sources, one behind the other.

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


def describe_false_positives(fitted: FittedProbe) -> str:
    """Say how often a probe errs on each kind of clips in which no class sounds; empty where nothing was measured."""
    counts, like_noise = read_false_positives(fitted), read_like_noise(fitted)
    if not counts:
        return ""
    if {*like_noise} >= {*fitted.classes}:
        return "every class sounds like noise: no threshold is above noise, which may be taken for any class"
    text = "where no class sounds, it detects " + ", ".join(count.describe(kind) for kind, count in counts.items())
    text += f"; {listed(like_noise)} aside, as noise" * bool(like_noise) + f"; in clips of {fitted.seconds:g} s"
    return text + f"; {FINETUNED}" * ("finetuned" in fitted.fitted_on)


def read_like_noise(fitted: FittedProbe) -> list[str]:
    """Read which classes sound like noise, whose thresholds need not be above it."""
    names = fitted.fitted_on.get("sounds_like_noise")
    return [str(name) for name in names] if isinstance(names, list) else []


def read_false_positives(fitted: FittedProbe) -> dict[str, FalsePositives]:
    """Read what was measured when a probe was kept; nothing where its file says what cannot be."""
    facts, kinds = fitted.fitted_on.get("negatives"), get_type_hints(FalsePositives)
    if not isinstance(facts, dict):
        return {}
    if not all(isinstance(one, dict) and not wrong_types(one, kinds) and one["seconds"] > 0 for one in facts.values()):
        return {}
    return {str(kind): FalsePositives(*(one[name] for name in kinds)) for kind, one in facts.items()}
