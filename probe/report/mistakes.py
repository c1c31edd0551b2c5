"""Show and play the clips that a probe took for another class, and what it detects where no class sounds."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from pandas import DataFrame
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.frontends.mel import MelScale
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.negatives import FINETUNED, read_false_positives, read_like_noise
from oscine.probe.fit.judge import Judgement
from oscine.probe.report.cutouts import show_spectrogram
from oscine.probe.report.examples import pictures, start_of
from oscine.probe.report.html import WIDE, Report
from oscine.probe.tasks import class_names
from oscine.probe.tasks.task import LabelledClips, Task

SHOWN, LISTED = 6, 50  # with their sound, which takes 30 kB a clip; in the folded table


def judged_clips(judgement: Judgement, task: Task) -> DataFrame:
    """Tell of every judged clip of a single-label task what it was taken for, the surest first.

    Columns: row, by number in the task; label; taken_for, the likeliest class; and the probability of that.
    """
    rows = torch.cat([part.test for part in task.parts])
    best = torch.cat(judgement.logits).double().softmax(1).max(1)
    columns = {"row": rows, "label": task.targets[rows], "taken_for": best.indices, "probability": best.values}
    return DataFrame(columns).sort_values("probability", ascending=False, kind="stable")


def show_mistakes(page: Report, encoder: Encoder, task: Task, judgement: Judgement) -> None:
    """Show how many clips were taken for another class, and play the surest of each pair of classes."""
    clips = judged_clips(judgement, task)
    right = clips["label"] == clips["taken_for"]
    page.heading("Clips that it got wrong")
    page.paragraph(f"{sum(~right)} of {len(clips)} clips were taken for another class.")
    if right.all():
        return
    wrong = clips[~right]
    shown = wrong.drop_duplicates(["label", "taken_for"])[:SHOWN]
    recognised = clips[right].drop_duplicates("label").set_index("label")["row"]  # of each class the surest
    page.paragraph(
        f"Of {len(shown)} pairs of classes, the mistake that the probe was surest of. Beside it, to compare, a clip of the "
        "class that it was taken for, one that was recognised. All sounds are played equally loud. Black: nothing "
        "was recorded, after the end or above half the rate."
    )
    for mistake in shown.itertuples():
        name, other = task.classes[mistake.label], task.classes[mistake.taken_for]
        with page.beside():
            title = f"{name}, taken for {other} (probability {mistake.probability:.2f})"
            _show_clip(page, encoder, task, row=mistake.row, title=title)
            if mistake.taken_for in recognised:
                row = recognised[mistake.taken_for]
                _show_clip(page, encoder, task, row=row, title=f"A clip of {other}, recognised")
    listed = [
        [task.classes[one.label], task.classes[one.taken_for], f"{one.probability:.3f}", name_of(task, one.row)]
        for one in wrong[:LISTED].itertuples()
    ]
    with page.folded(f"The {len(listed)} mistakes that it was surest of, as a table"):
        page.table(["label", "taken for", "probability", "clip"], listed, lines=True)


def name_of(task: Task, row: int) -> str:
    """Name a row: its file with the folder it is in, and where in it the row begins."""
    return "/".join(Path(task.rows["path"].iloc[row]).parts[-2:]) + start_of(task, row)


def _show_clip(page: Report, encoder: Encoder, task: Task, *, row: int, title: str) -> None:
    rows = task.rows.iloc[[row]]
    [picture] = pictures(encoder, rows)
    with page.column():
        page.heading(title, level=3)
        page.figure(
            clip_figure(picture.spectrogram, picture.mel_scale), name_of(task, row), "webp", f"spectrogram: {title}"
        )
        page.sound(LabelledClips(rows, encoder.sample_rate, encoder.seconds)[0], encoder.sample_rate, title)


def clip_figure(spectrogram: Tensor, mel_scale: MelScale) -> Figure:
    """Draw one clip [frames, mel], as wide as half the text."""
    figure = Figure(figsize=(WIDE / 2, 1.7), layout="constrained")
    axes = figure.subplots()
    show_spectrogram(axes, spectrogram, mel_scale)
    axes.tick_params(labelsize=8.5)
    axes.set_ylabel("kHz", fontsize=9)
    axes.set_xlabel("seconds", fontsize=9)
    return figure


def show_false_positives(page: Report, fitted: FittedProbe) -> None:
    """Add to a page how often the kept probe detects something where no class sounds."""
    counts = read_false_positives(fitted)
    if not counts:
        return
    page.heading("Where no class sounds")
    page.paragraph(say_thresholds(fitted))
    if {*read_like_noise(fitted)} >= {*fitted.classes}:
        return
    page.paragraph(
        "Below: what it detects in clips that neither the probe nor its thresholds have met. The silence is digital, whole "
        "or ending early, or has the dither of 16 bits; the noise is another draw, of other colours, softer and louder; "
        "background recordings, if there were any, are others than those that the measured probe has learnt from. No "
        "detection in 3 minutes means less than one a minute, with 95 % confidence. The scores above are of probes without "
        "all that."
    )
    page.table(
        ["", "clips", "minutes", "detections", "an hour"],
        [
            [kind, str(count.clips), f"{count.seconds / 60:.1f}", str(count.detections), f"{count.per_hour:.3g}"]
            for kind, count in counts.items()
        ],
    )


def say_thresholds(fitted: FittedProbe) -> str:
    """Say which thresholds are above what a probe says of silence and noise, and whether it learnt from these."""
    like_noise, kept = read_like_noise(fitted), "The probe that is kept for predict"
    reason = "a threshold above noise would lose most clips of a class"
    if {*like_noise} >= {*fitted.classes}:
        text = (
            f"{kept} has no threshold above its answers to silence and noise: every class sounds like noise to it, and "
            f"{reason}. Noise may be taken for any of them, and is not counted"
        )
    elif like_noise:
        text = (
            f"{kept} has thresholds above its answers to silence and noise, but not of classes that sound like noise or are "
            f"called so, where {reason}: {class_names.listed(like_noise, 20)}. Noise may be taken for these, and is not "
            "counted as such"
        )
    else:
        text = f"{kept} has thresholds above its answers to silence and noise"
    learnt = FINETUNED if "finetuned" in fitted.fitted_on else "it has learnt from such clips, too"
    return f"{text}. {learnt[0].upper()}{learnt[1:]}."
