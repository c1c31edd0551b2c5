"""Detect classes in soundscapes by frame-wise probes of labelled clips, and show them beside the annotations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from pandas import DataFrame
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.models.audio.load import audio_info, load_audio
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.eval_mode import evaluating
from oscine.models.encoders.frontends.mel import MelScale
from oscine.models.files import write_whole
from oscine.probe.deploy.detections import find_detections
from oscine.probe.deploy.fitted_probe import FittedProbe, ProbeFit
from oscine.probe.deploy.negatives import FalsePositives, Negatives, add_negatives, predict_clips, threshold_above
from oscine.probe.deploy.predict import predict_file
from oscine.probe.fit.frames import MEDIANS, THRESHOLDS, Decision
from oscine.probe.metrics.sound_events import Matches, find_events, segment_matches, total
from oscine.probe.report.cutouts import show_spectrogram
from oscine.probe.report.html import COLOURS, INK, WIDE, Report, plain_axes
from oscine.probe.tasks.chorus import MARK, soundscape_path
from oscine.probe.tasks.frame_task import Event
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.selection_tables import read_raven, write_raven
from oscine.probe.tasks.task import Task

FALSE_POSITIVES = "silence_and_noise.json"  # beside the detections
SEGMENT = 1.0  # seconds: precision and recall are of pairs of species and second


@dataclass(frozen=True)
class Soundscape:
    """A recording with what was annotated in it and what was detected, both with the columns of annotations."""

    path: Path
    songs: DataFrame
    detections: DataFrame

    def matches(self, classes: Sequence[str]) -> Matches:
        """Match pairs of class and second."""
        there, found = (as_events(table, classes) for table in (self.songs, self.detections))
        return segment_matches([there], [found], SEGMENT)[0]


def soundscapes_of(table: Path, task: Task) -> dict[str, Path]:
    """Find the first soundscape of every recordist, by the part that is judged on him; none of any other table."""
    folder, found = table.parent, {}
    if not (folder / MARK).is_file() or "recordist" not in task.rows:
        return {}
    for part in task.parts:
        recordists = task.rows["recordist"].iloc[part.test.numpy()].unique()
        path = folder / soundscape_path(recordists[0], 0)
        if len(recordists) == 1 and path.is_file():
            found[part.name] = path
    return found


class SoundscapeDetections(NamedTuple):
    """Soundscapes with their detections, and how many there are where no species sounds: by "silence" and "noise"."""

    soundscapes: list[Soundscape]
    false_positives: dict[str, FalsePositives]


def detect_in_soundscapes(fit: ProbeFit, recordings: Mapping[str, Path], negatives: Negatives) -> SoundscapeDetections:
    """Find every class in a recording for each part, by a frame-wise probe of that part, which has not learnt from it.

    The probe learns from clips that are labelled as a whole: every frame of a clip counts as its class; and from silence and
    noise. From which probability on, and by a median over how many frames, is decided by the other recordings: those that
    find most there; the probability is above the probe's answers to other silence and noise.

    fit: of a frame-wise probe. recordings: by the part's name, each with a Raven selection table beside it.
    """
    task, encoder = fit.task, fit.encoder
    whole_clips = one_hot(task.targets, len(task.classes)).float()[:, None].expand(-1, encoder.grid[0], -1)
    extended, source = add_negatives(replace(task, targets=whole_clips), fit.features, negatives)
    judgement = replace(fit, task=extended, features=source).judge()
    fitted = {
        name: FittedProbe(probe, encoder, fit.head, task.classes, encoder.seconds, TaskKind.MULTI)
        for name, probe in zip(judgement.parts, judgement.probes)
    }
    rows = {path: predict_file(fitted[part], path)[task.classes] for part, path in recordings.items()}
    songs = {path: read_songs(path) for path in rows}
    decisions, found, counts = choose_decisions(rows, songs, task.classes), list[Soundscape](), Counter[str]()
    for part, path in recordings.items():
        threshold, median = decisions[path]
        made = (negatives.for_thresholds, negatives.to_learn)
        highest = torch.cat([predict_clips(fitted[part], features) for features in made]).amax((0, 1))
        thresholds = threshold_above(highest).clamp(min=threshold)
        found.append(Soundscape(path, songs[path], find_detections(rows[path], thresholds, median)))
        for kind, clips in negatives.to_measure.items():
            counts[kind] += sum(
                len(find_events(clip, 1, thresholds, median)) for clip in predict_clips(fitted[part], clips)
            )
    clips_of = {kind: len(recordings) * len(clips.pooled) for kind, clips in negatives.to_measure.items()}
    return SoundscapeDetections(
        found, {kind: FalsePositives(many, many * negatives.seconds, counts[kind]) for kind, many in clips_of.items()}
    )


def read_songs(path: Path) -> DataFrame:
    return read_raven(path.with_suffix(".txt"), [path])


def choose_decisions(
    rows: Mapping[Path, DataFrame], songs: Mapping[Path, DataFrame], classes: Sequence[str]
) -> dict[Path, Decision]:
    """Choose for every recording the decision with the best F1 in the others, or the published one without others."""
    if len(rows) < 2:
        return dict.fromkeys(rows, Decision())
    decisions = [Decision(*both) for both in product(THRESHOLDS, MEDIANS)]
    found: dict[Path, list[Matches]] = {path: [] for path in rows}
    for path, (threshold, median) in product(rows, decisions):
        thresholds = torch.full((rows[path].shape[1],), threshold, dtype=torch.float64)
        detections = find_detections(rows[path], thresholds, median)
        found[path].append(Soundscape(path, songs[path], detections).matches(classes))

    def best(path: Path) -> Decision:
        others = [found[other] for other in rows if other != path]
        scores = [total(matches).f1 for matches in zip(*others)]
        return decisions[max(range(len(decisions)), key=scores.__getitem__)]

    return {path: best(path) for path in rows}


def as_events(annotations: DataFrame, classes: Sequence[str]) -> list[Event]:
    """Return those of the classes; a song of another species is none that could be found."""
    known = annotations[annotations["label"].isin(classes)]
    return [Event(row.start, row.end, classes.index(str(row.label))) for row in known.itertuples()]


def write_soundscapes(found: SoundscapeDetections, folder: Path) -> None:
    """Write the detections of each as a Raven selection table of its name; beside them, those where no species sounds."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in found.soundscapes:
        write_raven(folder / f"{one.path.stem}.txt", one.detections, {str(one.path): audio_info(one.path)})
    counts = {kind: one._asdict() for kind, one in found.false_positives.items()}
    write_whole(folder / FALSE_POSITIVES, (json.dumps(counts, indent=2) + "\n").encode())


def read_soundscapes(recordings: Mapping[str, Path], folder: Path) -> SoundscapeDetections | None:
    """Read what was written; None where a file is missing."""
    tables = {path: folder / f"{path.stem}.txt" for path in recordings.values()}
    if not all(file.is_file() for file in (*tables.values(), folder / FALSE_POSITIVES)):
        return None
    counts = {kind: FalsePositives(**one) for kind, one in json.loads((folder / FALSE_POSITIVES).read_bytes()).items()}
    return SoundscapeDetections(
        [Soundscape(path, read_songs(path), read_raven(table, [path])) for path, table in tables.items()], counts
    )


def overlapping(table: DataFrame, other: DataFrame) -> list[bool]:
    """Say of every row of a table whether the other has one of the same label that lasts at the same time."""
    return [
        bool(((other["label"] == row.label) & (other["start"] < row.end) & (other["end"] > row.start)).any())
        for row in table.itertuples()
    ]


def show_soundscapes(page: Report, found: SoundscapeDetections, encoder: Encoder, classes: Sequence[str]) -> None:
    """Show what was found in all, in a table, and each as a picture with its sound; all but one are folded."""
    soundscapes = found.soundscapes
    page.heading("Detections in soundscapes, beside the truth")
    page.paragraph(
        "A probe that answers for every frame was fitted on the labelled clips of the other recordists and run over each "
        "soundscape. Which probability makes a detection was chosen on the other soundscapes, and is above the probe's "
        "answers to silence and noise. Nothing in a recording has "
        "been learnt from before it was judged."
    )
    matches = [one.matches(classes) for one in soundscapes]
    page.table(
        ["soundscape", "songs", "of them found", "detections", "of them right", "precision", "recall", "F1"],
        [score_row(one.path.stem, [one], [found]) for one, found in zip(soundscapes, matches)]
        + [score_row("all", soundscapes, matches)],
    )
    seconds = sum(audio_info(one.path).seconds for one in soundscapes)
    chance = total(matches).annotated / (len(classes) * seconds / SEGMENT)
    page.paragraph(
        "A song is found, and a detection right, if a detection and a song of its species overlap. Precision, recall and F1 "
        f"are of pairs of species and second, which long detections cannot win: a song sounds in {chance:.0%} of them, "
        "which is the precision of guessing."
    )
    page.paragraph(
        "Where nothing sings, the same probes make so many detections: "
        + ", ".join(count.describe(kind) for kind, count in found.false_positives.items())
        + ". They have learnt from other silence and noise; what is counted is another draw than that and than what "
        "thresholds are above, of other colours, softer and louder."
    )
    order = sorted(range(len(soundscapes)), key=lambda number: matches[number].f1)
    middle = order[len(order) // 2]
    show_soundscape(page, soundscapes[middle], encoder)
    if len(soundscapes) > 1:
        with page.folded(f"The other {len(soundscapes) - 1} soundscapes; the one above is the middle one by F1"):
            for number, one in enumerate(soundscapes):
                if number != middle:
                    show_soundscape(page, one, encoder)


def score_row(name: str, soundscapes: Sequence[Soundscape], matches: Sequence[Matches]) -> list[str]:
    found = sum(sum(overlapping(one.songs, one.detections)) for one in soundscapes)
    right = sum(sum(overlapping(one.detections, one.songs)) for one in soundscapes)
    songs, detections = (sum(map(len, tables)) for tables in zip(*((one.songs, one.detections) for one in soundscapes)))
    every = total(matches)
    shares = ("–" if share != share else f"{share:.2f}" for share in (every.precision, every.recall, every.f1))
    return [name, str(songs), str(found), str(detections), str(right), *shares]


def show_soundscape(page: Report, soundscape: Soundscape, encoder: Encoder) -> None:
    waveform = load_audio(soundscape.path, encoder.sample_rate)
    with evaluating(encoder), torch.inference_mode():
        picture = encoder.picture(waveform)
    name = soundscape.path.stem
    page.figure(
        soundscape_figure(picture.spectrogram, picture.mel_scale, len(waveform) / encoder.sample_rate, soundscape),
        f"{name}: top, the recording; below, for every species, its annotated songs and what was detected.",
        "webp",
    )
    page.sound(waveform, encoder.sample_rate, f"soundscape {name}")


def soundscape_figure(spectrogram: Tensor, mel_scale: MelScale, seconds: float, soundscape: Soundscape) -> Figure:
    """Draw the recording [frames, mel] over seconds and kHz; below, a line a species with its songs and detections."""
    songs, detections = soundscape.songs, soundscape.detections
    species = sorted({*songs["label"], *detections["label"]})
    figure = Figure(figsize=(WIDE, 2.5 + 0.25 * len(species)), layout="constrained")
    top, lanes = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, 0.3 + 0.25 * len(species)])
    show_spectrogram(top, spectrogram, mel_scale)
    top.set_ylabel("kHz", fontsize=9)
    right = overlapping(detections, songs)
    kinds: dict[str, tuple[DataFrame, list[bool], float, dict[str, Any]]] = {
        "annotated song": (songs, [True] * len(songs), 0.22, {"color": INK}),
        "detection of a song": (detections, right, -0.12, {"color": COLOURS[0]}),
        "detection without one": (
            detections, [not one for one in right], -0.12, {"facecolor": "none", "edgecolor": COLOURS[1], "hatch": "////"},
        ),
    }  # fmt: skip
    for table, chosen, offset, style in kinds.values():
        for row in table[chosen].itertuples():
            place = species.index(row.label) - offset
            lanes.barh(place, row.end - row.start, 0.3, left=row.start, linewidth=0.8, **style)
    lanes.set_yticks(range(len(species)), species, fontsize=9)
    lanes.set_ylim(len(species) - 0.4, -0.6)
    lanes.set_xlim(0, seconds)
    lanes.set_xlabel("seconds", fontsize=9)
    plain_axes(lanes, along="x")
    handles = [Patch(label=name, **style) for name, (*_, style) in kinds.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return figure
