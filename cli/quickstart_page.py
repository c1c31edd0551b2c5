"""Write the page of `oscine quickstart` and print its summary: the first stage's parts, then the second's."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from oscine import __version__
from oscine.cli.quickstart_call import DETECTIONS
from oscine.cli.quickstart_stages import LOG_MEL, Rows, Stages, untrained
from oscine.models.files import write_whole
from oscine.models.text.words import duration
from oscine.pretrain.run.facts import seconds_spent
from oscine.pretrain.run.files import ENCODER, PICTURES
from oscine.pretrain.run.health import LEAST_RANK, LEAST_SHARE
from oscine.pretrain.run.metrics import loss_curve
from oscine.probe.report.figures import Mark, gain_figure, gate_figure, health_figure, loss_figure
from oscine.probe.report.html import Report, write_report
from oscine.probe.report.mistakes import show_mistakes
from oscine.probe.report.score_sections import show_classes
from oscine.probe.report.soundscapes import read_soundscapes, show_soundscapes
from oscine.probe.results.encoder_scores import LOGISTIC, Gain, Judgements, best_pair, gain, gives_one_answer
from oscine.probe.results.run_files import REPORT, SCORES

LONGER = (2000, 4000)  # steps whose hours are said
Verdict = Callable[[dict[str, Judgements], str], str]
LEAST = {"feature_std": LEAST_SHARE, "feature_rank": LEAST_RANK}


class Page:
    """Writes the page and scores.json of the rows that are judged so far."""

    def __init__(self, stages: Stages, command: str) -> None:
        self.stages, self.command = stages, command
        self.pretrained: list[str] = []

    def write(self, rows: Rows, finished: bool) -> None:
        """Write the page and the scores. finished: whether the call ends with this."""
        stages = self.stages
        self.pretrained = [name for name in stages.recipes if name in rows]
        scores = {row: found.judgements for row, found in rows.items()}
        page = Report("oscine quickstart")
        self.begin(page, scores, finished)
        self.closer(page, scores)
        if self.pretrained:
            show_pretraining(page, stages)
            show_gates(page, rows)
            show_steps(page, stages, scores)
        page.heading("Made by")
        page.command(self.command)
        page.paragraph(
            f"oscine {__version__}. All scores: {SCORES}"
            + (f"; detections as Raven selection tables: {DETECTIONS}/" if stages.recordings else "")
            + ". Both lie beside this page."
        )
        write_report(page, stages.out / REPORT)
        content = {
            "oscine": __version__,
            "finished": finished,
            "rows": len(stages.task.rows),
            "classes": stages.task.classes,
            "probes": stages.plan["probes"],
            "conclusions": self.conclude(scores),
            "scores": {row: {name: one.as_dict() for name, one in of_row.items()} for row, of_row in scores.items()},
        }
        write_whole(stages.out / SCORES, (json.dumps(content, indent=2) + "\n").encode())

    def begin(self, page: Report, scores: dict[str, Judgements], finished: bool) -> None:
        """Show what was asked, and the answer."""
        task = self.stages.task
        page.paragraph(
            f"How well do frozen encoders tell {len(task.classes)} classes apart? {len(task.rows)} clips in "
            f"{len(task.parts)} folds; each fold is tested on probes fitted on the others."
            + (
                " The birds are made up; every fold is a recordist with a place and a recorder of its own, whom no "
                "probe has met before."
                if self.stages.recordings
                else ""
            )
        )
        if not finished:
            page.paragraph(
                f"This is the first part. {' and '.join(self.stages.recipes)} are being pretrained now; this page grows "
                "when that is done."
            )
        page.heading("Accuracy in percent, mean and spread over folds")
        page.table(*cells(scores, 1 / len(task.classes)))
        for sentence in self.conclude(scores, briefly):
            page.paragraph(sentence)
        page.heading("Gain over random weights, in points", level=3)
        gains = [[row, *map(str, gains_of(scores, row).values())] for row in (self.stages.embedded, *self.pretrained)]
        page.table(["encoder", *scores[self.stages.embedded]], gains)
        page.paragraph(
            "Fold by fold: the mean, and the spread (standard deviation) of the differences. A gain that is no greater than "
            "its spread may be luck."
        )

    def closer(self, page: Report, scores: dict[str, Judgements]) -> None:
        """Show one probe on the encoder that comes with oscine closely: classes, mistakes, detections."""
        stages = self.stages
        probe, encoder = stages.plan["shown"], stages.encoder()
        judgement = scores[stages.embedded][probe]
        page.heading(f"A closer look: the probe “{probe}” on {stages.embedded}")
        page.paragraph("It is the probe to begin with; what follows is about this row and column of the table.")
        show_classes(page, stages.task, judgement)
        show_mistakes(page, encoder, stages.task, judgement)
        found = read_soundscapes(stages.recordings, stages.out / DETECTIONS)
        if found:
            show_soundscapes(page, found, encoder, stages.task.classes)

    def conclude(self, scores: dict[str, Judgements], verdict: Verdict | None = None) -> list[str]:
        """Say what the table shows, by its numbers alone. verdict: says what a row gains."""
        stages, verdict = self.stages, verdict or in_full
        embedded, where = stages.embedded, "elsewhere, on other sounds" if stages.is_chorus else "elsewhere"
        said = [f"{embedded} comes with oscine and was pretrained {where}. {verdict(scores, embedded)}"]
        for name in self.pretrained:
            said.append(f"{name}, {stages.steps} steps of pretraining here. {verdict(scores, name)}")
            if silent := [probe for probe, judgement in scores[name].items() if gives_one_answer(judgement)]:
                said.append(
                    f"All clips look alike to {name}: these probes have one answer for all of them: {', '.join(silent)}. It "
                    "has learnt too little to be of use."
                )
        floor = scores[LOG_MEL][LOGISTIC].summary("accuracy")[0]
        of = {"the encoder that comes with oscine": [embedded]}
        if self.pretrained:
            of["the best that was pretrained here"] = self.pretrained
        of["random weights"] = [row for row in scores if row.endswith(", random")]
        best = {kind: best_pair(scores, rows) for kind, rows in of.items()}
        listed = ", ".join(f"{kind} {reached:.1%} ({pair})" for kind, (pair, reached) in best.items())
        said.append(
            f"Best scores: {listed}, log-mel statistics without any encoder (logistic regression alone) {floor:.1%}."
        )
        if self.pretrained:
            reached, without = best["the best that was pretrained here"][1], best["random weights"][1]
            worth = "has paid off" if reached > max(without, floor) else "was too short to pay off"
            said.append(f"Pretraining of {stages.steps} steps {worth} on these recordings; --steps N makes it longer.")
        return said


def gains_of(scores: dict[str, Judgements], row: str) -> dict[str, Gain]:
    """Return what every probe finds in an encoder beyond what it finds in random weights."""
    return {probe: gain(judgement, scores[untrained(row)][probe]) for probe, judgement in scores[row].items()}


def in_full(scores: dict[str, Judgements], row: str) -> str:
    said = "; ".join(f"{probe} {found} points ({found.verdict})" for probe, found in gains_of(scores, row).items())
    return f"Against random weights: {said}."


def briefly(scores: dict[str, Judgements], row: str) -> str:
    """Say which probes gain, above a table with the numbers."""
    verdicts: dict[str, list[str]] = {}
    for probe, found in gains_of(scores, row).items():
        verdicts.setdefault(found.verdict, []).append(probe)
    return f"Against random weights: {'; '.join(' with '.join((kind, ', '.join(some))) for kind, some in verdicts.items())}."


def cells(scores: dict[str, Judgements], chance: float) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table: accuracy in percent, mean and spread over folds."""
    columns = list(list(scores.values())[-1])
    rows = [["chance", *(f"{100 * chance:.1f}" for _ in columns)]]
    for features, judgements in scores.items():
        summaries = (judgements[column].summary("accuracy") if column in judgements else None for column in columns)
        rows.append([features, *("–" if s is None else f"{100 * s[0]:.1f} ± {100 * s[1]:.1f}" for s in summaries)])
    return ["features", *columns], rows


def show_pretraining(page: Report, stages: Stages) -> None:
    """Show the loss, pictures of what is predicted from what is seen, and health."""
    curves = {name: loss_curve(stages.out / name) for name in stages.recipes}
    page.heading(f"Pretraining, {stages.steps} steps of each recipe")
    page.paragraph("Both learn from the waveforms of all clips, without labels.")
    page.figure(loss_figure(curves), "The loss by steps. The losses of two recipes do not compare.")
    for name in stages.recipes:
        pictures = {
            int(path.stem.removeprefix("step_")): path for path in (stages.out / name / PICTURES).glob("step_*.png")
        }
        if pictures:
            first, last = min(pictures), max(pictures)
            seen = "two clips, what the encoder sees, and what is predicted from that."
            add_picture(page, pictures[last], f"{name} at step {last}: {seen}")
            if first != last:
                with page.folded(f"The same at step {first}"):
                    add_picture(page, pictures[first], f"{name} at step {first}.")
    if all(f"health/{figure}" in curve for curve in curves.values() for figure in LEAST):
        page.figure(
            health_figure(curves, LEAST),
            "How the encoders fare: how much features vary over clips, and over how many dimensions (effective rank). Below "
            "the dotted line an encoder is collapsing: all clips look alike to it.",
        )


def add_picture(page: Report, path: Path, caption: str) -> None:
    """Show a picture of a run as it was drawn; WebP takes a fifth of its PNG."""
    pixels = matplotlib.image.imread(path)
    file = io.BytesIO()
    matplotlib.image.imsave(file, pixels, format="webp", pil_kwargs={"quality": 85})
    page.picture(file.getvalue(), caption, format="webp", width=pixels.shape[1])


def show_gates(page: Report, rows: Rows) -> None:
    gates = {row: found.gates for row, found in rows.items() if found.gates is not None}
    if gates:
        caption = "How much each layer counts, mean and spread over folds; the dashed line is even shares."
        with page.folded("Which layers the convex gated probe reads"):
            page.figure(gate_figure(gates), caption)


def show_steps(page: Report, stages: Stages, scores: dict[str, Judgements]) -> None:
    """Show how far this run's encoders are from random weights, and what more steps cost on this machine."""
    data = "the chorus" if stages.is_chorus else stages.table.stem
    here = [gain(scores[name][LOGISTIC], scores[untrained(name)][LOGISTIC]) for name in stages.recipes]
    marks = [
        Mark(name, data, "this recipe", stages.steps, found.mean, found.spread, paired=True, here=True)
        for name, found in zip(stages.recipes, here)
    ]
    marks += [Mark(**mark) for mark in stages.plan["measured"]]
    page.heading("How many steps it takes")
    page.paragraph(
        "On ESC-10 pretraining first lost what random weights hold and then won: encoders were below them after 400 and 600 "
        "steps and above them after 2,000 and 4,000 (BAT by less than its spread). That is other data than this run's: it "
        "shows that the curve passes zero, not where it does on these recordings."
    )
    page.figure(
        gain_figure(marks),
        "Accuracy of logistic regression on the mean patch, in points above random weights of the same data. Full "
        "marks: this run. Bars are spreads over folds: of the gain, or, at 400, 600 and 1,500 steps, of the accuracy.",
    )
    lines = [
        [one.recipe, f"{one.steps:,}", f"{one.gain:+.1f}", f"{one.spread:.1f}", f"{one.data}, {one.setting}"]
        for one in sorted(marks, key=lambda mark: (mark.recipe, mark.steps))
    ]
    with page.folded("The same as a table"):
        page.table(["recipe", "steps", "points", "spread", "data and setting"], lines, lines=True)
    spent = {name: seconds for name in stages.recipes if (seconds := seconds_spent(stages.out / name))}
    if len(spent) == len(stages.recipes):
        pace = {name: seconds / stages.steps for name, seconds in spent.items()}
        page.table(
            ["recipe", "seconds a step, here", *(f"{steps:,} steps" for steps in LONGER)],
            [[name, f"{of:.2f}", *(duration(of * steps) for steps in LONGER)] for name, of in pace.items()],
        )
        total = duration(sum(pace.values()) * LONGER[-1])
        page.paragraph(f"Both recipes for {LONGER[-1]:,} steps each, about {total} on this machine:")
        table = "" if stages.is_chorus else f" --table {stages.table}"
        page.command(f"oscine quickstart{table} --steps {LONGER[-1]} --out {stages.out}_{LONGER[-1]}")
    page.paragraph("With your own recordings, without labels:")
    page.command("oscine pretrain bird_mae_tiny --data.recordings FOLDER")


def print_summary(stages: Stages, page: Page, rows: Rows) -> None:
    """Print the table and what follows from it; last, how to use an encoder."""
    console, out = Console(), stages.out
    scores = {row: found.judgements for row, found in rows.items()}
    header, body = cells(scores, 1 / len(stages.task.classes))
    names = Column(header[0], no_wrap=True)
    columns = [Column(name, min_width=max(map(len, name.split())), justify="right") for name in header[1:]]
    title = "Accuracy in %, mean ± standard deviation over folds"
    shown = Table(names, *columns, box=SIMPLE_HEAD, padding=0, show_edge=False, title=title)
    for row in body:
        shown.add_row(*(cell.replace(" ± ", "±") for cell in row))  # so that a row fits 80 columns
    console.print(shown)
    for sentence in page.conclude(scores):
        console.print(sentence, highlight=False)
    console.print(f"\nReport: {out / REPORT}. Scores: {out / SCORES}.", highlight=False)
    if page.pretrained:
        made = ", ".join(f"{name} in {out / name / ENCODER}" for name in page.pretrained)
        console.print(
            f"Encoders made here: {made}. They are unfinished: so few steps show a recipe at work.", highlight=False
        )
    encoder = stages.embedded.partition(".")[0]
    console.print("To take home: a probe on recordings of your own, and the encoder that comes with oscine:\n")
    print(f"oscine probe linear --encoder {encoder} --table FILE.csv\n")
    print("from oscine.models import create_model, load_audio")
    print(f'encoder = create_model("{encoder}", pretrained=True)')
    clip = f'load_audio("{stages.task.rows["path"].iloc[0]}", encoder.sample_rate, seconds=encoder.seconds)'
    print(f"print(encoder({clip}[None]).pooled.shape)")
