"""Show and play the clips that a probe took for another class, and what it detects where no class sounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.frontends.mel_scale import Ruler
from oscine.probe.deploy.fitted import FittedProbe
from oscine.probe.deploy.negatives import FINETUNED, read_false_positives
from oscine.probe.fit.judge import Judgement
from oscine.probe.report.cutouts import show_spectrogram
from oscine.probe.report.examples import pictures, start_of
from oscine.probe.report.html import WIDE, Report
from oscine.probe.tasks.class_names import listed
from oscine.probe.tasks.task import LabelledClips, Task

SHOWN, LISTED = 6, 50  # with their sound, which takes 30 kB a clip; in the folded table


class Mistake(NamedTuple):
    """A judged row, by number in the task, its class, the one that it was taken for, and with which probability."""

    row: int
    label: int
    taken_for: int
    probability: float


def mistakes(judgement: Judgement, task: Task) -> list[Mistake]:
    """Find the rows of a single-label task that were taken for another class, the surest first."""
    rows, probabilities = judged(judgement, task)
    best = probabilities.max(1)
    labels = task.targets[rows]
    wrong = (best.indices != labels).nonzero().flatten()
    order = wrong[best.values[wrong].argsort(descending=True, stable=True)]
    columns = (rows[order], labels[order], best.indices[order], best.values[order])
    return [Mistake(*found) for found in zip(*(column.tolist() for column in columns))]


def judged(judgement: Judgement, task: Task) -> tuple[Tensor, Tensor]:
    """Return the numbers of the judged rows, and the probabilities of their classes, [rows, classes]."""
    rows = torch.cat([part.test for part in task.parts])
    return rows, torch.cat(judgement.logits).double().softmax(1)


def of_several_pairs(found: Sequence[Mistake], most: int = SHOWN) -> list[Mistake]:
    """Pick the first of every pair of classes."""
    first: dict[tuple[int, int], Mistake] = {}
    for mistake in found:
        first.setdefault((mistake.label, mistake.taken_for), mistake)
    return list(first.values())[:most]


def clearest(judgement: Judgement, task: Task) -> dict[int, int]:
    """Find, for every class, the row that was rightly taken for it with the greatest probability, if one was."""
    rows, probabilities = judged(judgement, task)
    best = probabilities.max(1)
    right = best.indices == task.targets[rows]
    found = {}
    for label in range(len(task.classes)):
        places = (right & (best.indices == label)).nonzero().flatten()
        if len(places):
            found[label] = int(rows[places[best.values[places].argmax()]])
    return found


def show_mistakes(page: Report, encoder: Encoder, task: Task, judgement: Judgement) -> None:
    """Show how many clips were taken for another class, and play the surest of each pair of classes."""
    found = mistakes(judgement, task)
    page.heading("Clips that it got wrong")
    total = sum(len(part.test) for part in task.parts)
    page.paragraph(f"{len(found)} of {total} clips were taken for another class.")
    if not found:
        return
    shown, examples = of_several_pairs(found), clearest(judgement, task)
    page.paragraph(
        f"Of {len(shown)} pairs of classes, the mistake that the probe was surest of. Beside it, to compare, a clip of the "
        "class that it was taken for, one that was recognised. All sounds are played equally loud. Black: nothing "
        "was recorded, after the end or above half the rate."
    )
    for mistake in shown:
        name, other = task.classes[mistake.label], task.classes[mistake.taken_for]
        with page.beside():
            title = f"{name}, taken for {other} (probability {mistake.probability:.2f})"
            _show_clip(page, encoder, task, mistake.row, title)
            if mistake.taken_for in examples:
                _show_clip(page, encoder, task, examples[mistake.taken_for], f"A clip of {other}, recognised")
    with page.folded(f"The {min(len(found), LISTED)} mistakes that it was surest of, as a table"):
        page.table(
            ["label", "taken for", "probability", "clip"],
            [
                [task.classes[one.label], task.classes[one.taken_for], f"{one.probability:.3f}", name_of(task, one.row)]
                for one in found[:LISTED]
            ],
            lines=True,
        )


def name_of(task: Task, row: int) -> str:
    """Name a row: its file with the folder it is in, and where in it the row begins."""
    return "/".join(Path(task.rows["path"].iloc[row]).parts[-2:]) + start_of(task, row)


def _show_clip(page: Report, encoder: Encoder, task: Task, row: int, title: str) -> None:
    rows = task.rows.iloc[[row]]
    [picture] = pictures(encoder, rows)
    with page.column():
        page.heading(title, level=3)
        page.figure(
            clip_figure(picture.spectrogram, picture.ruler), name_of(task, row), "webp", f"spectrogram: {title}"
        )
        page.sound(LabelledClips(rows, encoder.sample_rate, encoder.seconds)[0], encoder.sample_rate, title)


def clip_figure(spectrogram: Tensor, ruler: Ruler) -> Figure:
    """Draw one clip [frames, mel], as wide as half the text."""
    figure = Figure(figsize=(WIDE / 2, 1.7), layout="constrained")
    axes = figure.subplots()
    show_spectrogram(axes, spectrogram, ruler)
    axes.tick_params(labelsize=8.5)
    axes.set_ylabel("kHz", fontsize=9)
    axes.set_xlabel("seconds", fontsize=9)
    return figure


def show_false_positives(page: Report, fitted: FittedProbe) -> None:
    """Add to a page how often the kept probe detects something where no class sounds."""
    counts, like_noise = read_false_positives(fitted), fitted.fitted_on.get("sounds_like_noise")
    if not counts:
        return
    page.heading("Where no class sounds")
    page.paragraph(
        "The thresholds of the probe that is kept for predict are above its answers to silence and noise. Below: what it "
        "detects in clips that neither the probe nor its thresholds have met. The silence is digital, whole or ending "
        "early, or has the dither of 16 bits; the noise is another draw, of other colours, softer and louder; "
        "background recordings, if there were any, are others than those that the measured probe has learnt from. No "
        "detection in 3 minutes means less than one a minute, with 95 % confidence. The scores above are of probes without "
        "all that."
    )
    page.paragraph(
        FINETUNED[0].upper() + FINETUNED[1:] + "."
        if "finetuned" in fitted.fitted_on
        else "The probe has learnt from silence and noise, too."
    )
    page.table(
        ["", "clips", "minutes", "detections", "an hour"],
        [
            [kind, str(count.clips), f"{count.seconds / 60:.1f}", str(count.detections), f"{count.per_hour:.3g}"]
            for kind, count in counts.items()
        ],
    )
    if like_noise:
        page.paragraph(
            f"{listed(like_noise)} sounds like noise: a threshold above noise would lose most of its clips, so that it "
            "keeps its own and is not counted here; noise may be taken for it."
        )
