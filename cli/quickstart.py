"""`oscine quickstart`: the main job end to end, as one story. Data, two recipes, four probes, a table, a report."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from oscine import __version__
from oscine.cli import config
from oscine.cli.command import call
from oscine.cli.pretrain import METHODS, Steps, write_settings
from oscine.cli.probe import PROBES
from oscine.cli.progress import Bar, duration, progress_bar
from oscine.models import Encoder, Features, create_model
from oscine.models.augment import key
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.pretrain import BirdMAEPretraining, Recipe
from oscine.pretrain.bird_mae import seen
from oscine.pretrain.data import PretrainingData
from oscine.pretrain.run import ENCODER, STATE, loss_curve, make_trainer, run_pretraining
from oscine.pretrain.states import resumable
from oscine.probe.chorus import make_chorus
from oscine.probe.convex_gated import ConvexGatedProbe
from oscine.probe.data import LabelledClips, Task, read_task
from oscine.probe.encoding import encode_task
from oscine.probe.fit import FitSettings, Judgement, judge
from oscine.probe.log_mel import judge_vectors, log_mel_statistics
from oscine.probe.probe import Needs
from oscine.probe.report import Report, gate_figure, loss_figure, reconstruction_figure, write_report

LOG_MEL = "log-mel statistics"
LOGISTIC = "logistic regression"
STEP_SECONDS, OTHER_SECONDS = 1.7, 340  # of a step of both recipes and of all else with the chorus, on two cores
EVERYTHING = Needs(layers=None, parts=("cls", "patches"))
Scores = dict[str, dict[str, Judgement]]  # features, then probe


def main(arguments: list[str]) -> int | None:
    return call(quickstart, arguments)


def quickstart(
    table: Path | None = None,
    out: Path = Path("runs/quickstart"),
    steps: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Run the main job end to end: data, pretraining, probing, a table and a report.

    Makes a synthetic dawn chorus (or takes your recordings), pretrains a tiny encoder with each recipe from the waveforms
    alone, probes them frozen, beside the same encoders with random weights, one that comes with oscine and plain log-mel
    statistics, and writes the encoders, scores.json and report.html. Needs no network and no GPU; about ten minutes on two
    cores. A run that was stopped goes on where it was when called again in the same way.

    Args:
        table: a CSV of your own recordings with the columns path (relative to the table), label and fold.
        out: folder for everything that is made.
        steps: pretraining steps of each recipe; more than the default learns more.
        seed: of data, weights, masks and probes; the same seed gives the same table.
        overwrite: replace what a run with other settings has left in OUT.
    """
    plan = config.read(config.find_quickstart())
    length = plan["steps"] if steps is None else steps
    settings = {"table": str(table) if table else "chorus", "steps": length, "seed": seed, "oscine": __version__}
    with progress_bar() as bar:
        claim(out)
        bar.say(promise(table, list(plan["recipes"]), length))
        chorus = bar.task("synthetic dawn chorus") if table is None else None
        task = read_task(table or make_chorus(out / f"chorus_{seed}", seed, plan["clips"], progress=chorus))
        if not task.single_label:
            raise OscineError(f"{table} has rows with no or several labels; quickstart takes one label a row")
        prepare(out, plan["recipes"], settings, overwrite)
        recipes = {
            name: pretrain(name, overrides, task, out / name, length, seed, bar)
            for name, overrides in plan["recipes"].items()
        }
        scores, gates = probe_all(plan, recipes, task, seed, bar)
    conclusions = conclude(scores, list(plan["recipes"]), plan["embedded"], length)
    write_scores(out / "scores.json", scores, task, plan["probes"], conclusions)
    report(out, recipes, task, scores, gates, conclusions)
    show(out, scores, task, conclusions)


def promise(table: Path | None, recipes: list[str], steps: int) -> str:
    """What is going to happen, and how long it takes on two cores."""
    told = f"pretrains {' and '.join(recipes)} for {steps} steps each, probes them and writes a report"
    if table:
        return f"quickstart reads {table}, {told}"
    seconds = OTHER_SECONDS + steps * STEP_SECONDS
    return f"quickstart makes a synthetic dawn chorus, {told}: about {duration(seconds)} on two cores"


STAMP = "quickstart.json"


def claim(out: Path) -> None:
    """A folder that is new, empty, or an earlier quickstart's."""
    if out.exists() and any(out.iterdir()) and not (out / STAMP).exists():
        raise OscineError(f"{out} is not empty and no quickstart made it; name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    if not (out / STAMP).exists():
        write_whole(out / STAMP, b"{}")


def prepare(out: Path, recipes: Iterable[str], settings: dict[str, Any], overwrite: bool) -> None:
    """Keep what an unfinished run with the same settings has made; clear what a finished one has left.

    What a run with other settings has left is refused, for it may be hours of work. Only what a run makes anew is cleared:
    encoders, scores and report, never data.
    """
    left = json.loads((out / STAMP).read_text(encoding="utf-8"))
    made = [path for name in (*recipes, "scores.json", "report.html") if (path := out / name).exists()]
    differ = [f"{key} {left[key]}, not {settings[key]}" for key in settings if left and left.get(key) != settings[key]]
    if made and differ and not overwrite:
        raise OscineError(
            f"{out} is of a run with {', '.join(differ)}; call it as then to go on, name another --out, or --overwrite it"
        )
    if made and (differ or (out / "scores.json").exists()):
        for path in made:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_whole(out / STAMP, json.dumps(settings).encode())


def pretrain(name: str, overrides: dict[str, Any], task: Task, folder: Path, steps: int, seed: int, bar: Bar) -> Recipe:
    """A recipe of the zoo, run on the waveforms of the whole table, or picked up where it stopped."""
    plan = config.read(config.find("pretrain", name))
    lightning.seed_everything(seed, verbose=False)
    encoder = create_model(**plan["encoder"])
    settings, read = plan["recipe"] | {"steps": steps, "warmup": steps // 10}, plan["data"] | overrides
    recipe = METHODS[plan["method"]](encoder, **settings)
    recordings = sorted(set(task.rows["path"]))
    log_every = max(1, steps // 100)
    data = PretrainingData(recordings, **read, seed=seed)
    trainer = make_trainer(
        recipe,
        folder,
        save_every=max(1, steps // 10),
        log_every=log_every,
        callbacks=[Steps(bar.task(f"pretrain {name}"), log_every)],
        enable_progress_bar=False,
        enable_model_summary=False,
        **plan["trainer"],
    )
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(os.path.commonpath(recordings))
    write_settings(folder, plan | {"seed": seed, "recipe": settings, "data": read | {"recordings": str(place)}})
    run_pretraining(trainer, recipe, data, folder, resume=resumable(folder / STATE))
    return recipe.eval()


def probe_all(
    plan: dict[str, Any], recipes: dict[str, Recipe], task: Task, seed: int, bar: Bar
) -> tuple[Scores, dict[str, np.ndarray]]:
    """Every probe on every frozen encoder, fold by fold; and the layer gates of the convex gated ones."""
    seconds = next(iter(recipes.values())).encoder.seconds
    scores: Scores = {LOG_MEL: {LOGISTIC: judge_vectors(log_mel_statistics(task, seconds), task)}}
    gates = {}
    for row, encoder in encoders(recipes, plan["embedded"], seed):
        features = encode_task(encoder, task, EVERYTHING, progress=bar.task(f"encode with {row}"))
        scores[row] = probe_one(plan["probes"], encoder, features, task, seed, bar.task(f"probe {row}"))
        gates[row] = gate_of(scores[row])
    return scores, gates


def encoders(recipes: dict[str, Recipe], embedded: str, seed: int) -> Iterator[tuple[str, Encoder]]:
    """Those pretrained here, each with its random twin, and the one that comes with oscine, by their rows' names."""
    for number, (name, recipe) in enumerate(recipes.items()):
        yield name, recipe.encoder
        torch.manual_seed(key(seed, 2 * number + 1))
        yield untrained(name), type(recipe.encoder)(**recipe.encoder.config).eval()
    yield embedded, create_model(embedded, pretrained=True)


def untrained(name: str) -> str:
    """The row of an encoder's twin with random weights."""
    return f"{name.partition('.')[0]}, random"


def probe_one(
    probes: dict[str, Any],
    encoder: Encoder,
    features: Features,
    task: Task,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, Judgement]:
    vectors = features.patches[-1].mean((1, 2))
    judgements = {LOGISTIC: judge_vectors(vectors, task)}
    for number, (name, chosen) in enumerate(probes.items()):
        make_probe = partial(PROBES[chosen["probe"]], encoder, len(task.classes), **chosen["head"])
        judgements[name] = judge(make_probe, features, task, FitSettings(**chosen["fit"], seed=seed))
        progress(number + 1, len(probes))
    return judgements


def gate_of(judgements: dict[str, Judgement]) -> np.ndarray:  # [fold, layer]
    probes = [probe for judgement in judgements.values() for probe in judgement.probes]
    return np.stack([probe.gate.detach().numpy() for probe in probes if isinstance(probe, ConvexGatedProbe)])


def conclude(scores: Scores, recipes: list[str], embedded: str, steps: int) -> list[str]:
    """What the table shows, in words that follow from its numbers alone."""
    said = [f"{embedded} comes with oscine and was pretrained elsewhere. {gains(scores, embedded)}."]
    for name in recipes:
        said.append(f"{name}, {steps} steps of pretraining. {gains(scores, name)}.")
        if silent := [probe for probe, judgement in scores[name].items() if gives_one_answer(judgement)]:
            said.append(
                f"All clips look alike to {name}: these probes have one answer for all of them: {', '.join(silent)}. It has "
                "learnt too little to be of use."
            )
    floor = scores[LOG_MEL][LOGISTIC].summary("accuracy")[0]
    pretrained, reached = best_pair(scores, recipes)
    random, without = best_pair(scores, [untrained(name) for name in recipes])
    worth = "has paid off" if reached > max(without, floor) else "was too short to pay off"
    said.append(
        f"The best of each: pretrained here {reached:.1%} ({pretrained}), random weights {without:.1%} ({random}), log-mel "
        f"statistics without any encoder (logistic regression alone) {floor:.1%}. Pretraining of {steps} steps {worth} on "
        "these recordings; --steps N makes it longer."
    )
    return said


def gives_one_answer(judgement: Judgement) -> bool:
    """Whether every fold's clips were all taken for one class."""
    return all(len(logits.argmax(1).unique()) == 1 for logits in judgement.logits)


def gains(scores: Scores, row: str) -> str:
    """What every probe finds in an encoder beyond what it finds in random weights."""
    trained, twin = scores[row], scores[untrained(row)]
    verdicts = (f"{probe} {difference(trained[probe], twin[probe])}" for probe in trained)
    return f"Against random weights: {'; '.join(verdicts)}"


def best_pair(scores: Scores, rows: list[str]) -> tuple[str, float]:
    """The encoder and probe with the greatest mean accuracy, and that accuracy."""
    means = {f"{row}, {probe}": scores[row][probe].summary("accuracy")[0] for row in rows for probe in scores[row]}
    best = max(means, key=lambda pair: means[pair])
    return best, means[best]


def difference(trained: Judgement, untrained: Judgement) -> str:
    """The gain in accuracy, paired by fold, and whether it exceeds its own spread."""
    pairs = zip(trained.metrics, untrained.metrics, strict=True)
    gains = 100 * np.array([first.accuracy - second.accuracy for first, second in pairs])
    mean, spread = gains.mean(), gains.std()
    verdict = "better" if mean > spread else "worse" if mean < -spread else "no clear difference"
    return f"{mean:+.1f} ± {spread:.1f} points ({verdict})"


def write_scores(path: Path, scores: Scores, task: Task, probes: dict[str, Any], conclusions: list[str]) -> None:
    content = {
        "oscine": __version__,
        "rows": len(task.rows),
        "classes": task.classes,
        "probes": probes,
        "conclusions": conclusions,
        "scores": {
            row: {name: judgement.as_dict() for name, judgement in columns.items()} for row, columns in scores.items()
        },
    }
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def cells(scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: accuracy in percent, mean and spread over folds."""
    columns = list(list(scores.values())[-1])
    rows = []
    for features, judgements in scores.items():
        summaries = (judgements[column].summary("accuracy") if column in judgements else None for column in columns)
        rows.append([features, *("–" if s is None else f"{100 * s[0]:.1f} ± {100 * s[1]:.1f}" for s in summaries)])
    return ["features", *columns], rows


def report(
    out: Path,
    recipes: dict[str, Recipe],
    task: Task,
    scores: Scores,
    gates: dict[str, np.ndarray],
    conclusions: list[str],
) -> None:
    page = Report("oscine quickstart")
    page.paragraph(
        f"{len(task.rows)} clips of {len(task.classes)} classes in {len(task.parts)} folds. Two tiny encoders were "
        "pretrained on the waveforms of all clips, without labels, and then probed frozen; each fold is tested on probes "
        "fitted on the others."
    )
    page.heading("Accuracy in percent, mean and spread over folds")
    page.table(*cells(scores))
    for sentence in conclusions:
        page.paragraph(sentence)
    page.heading("Loss of pretraining")
    page.figure(
        loss_figure({name: loss_curve(out / name) for name in recipes}), "The losses of two recipes do not compare."
    )
    for name, recipe in recipes.items():
        if isinstance(recipe, BirdMAEPretraining):
            page.heading("A masked spectrogram and its reconstruction")
            page.figure(*masked(name, recipe, task))
    page.heading("Layer gates of the convex gated probe")
    page.figure(
        gate_figure(gates), "How much each layer counts, mean and spread over folds; the dashed line is even shares."
    )
    write_report(page, out / "report.html")


def masked(name: str, recipe: BirdMAEPretraining, task: Task) -> tuple[Any, str]:
    """The picture of one clip of the table, and its caption."""
    encoder = recipe.encoder
    row = task.rows.iloc[[0]]
    waveform = LabelledClips(row, encoder.sample_rate, encoder.seconds)[0][None]
    keep = recipe.draw_keep(torch.Generator().manual_seed(0))
    with torch.inference_mode():
        spectrogram = encoder.frontend(waveform)
        shown = seen(spectrogram, keep)
        drawn = recipe.reconstruct(spectrogram, keep)
    seconds = spectrogram.shape[1] * encoder.frontend.frame_seconds
    clip = Path(row["path"].item()).name
    return (
        reconstruction_figure(spectrogram[0], shown[0], drawn[0], seconds),
        f"{clip}, through {name}; mean and scale of each hidden patch are the true ones.",
    )


def show(out: Path, scores: Scores, task: Task, conclusions: list[str]) -> None:
    console = Console()
    header, rows = cells(scores)
    names = Column(header[0], no_wrap=True)
    chance = 100 / len(task.classes)
    title = f"Accuracy in %, mean ± standard deviation over folds; chance is {chance:.1f}"
    columns = [Column(name, min_width=max(map(len, name.split()))) for name in header[1:]]
    shown = Table(names, *columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, title=title)
    for row in rows:
        shown.add_row(*(cell.replace(" ± ", "±") for cell in row))  # so that a row fits 80 columns
    console.print(shown)
    for sentence in conclusions:
        console.print(sentence, highlight=False)
    trained = [row for row in scores if (out / row / ENCODER).exists()]
    best = max(trained, key=lambda row: scores[row][LOGISTIC].summary("accuracy")[0])
    console.print(
        f"\nReport: {out / 'report.html'}. Scores: {out / 'scores.json'}. The best of the encoders made here:\n",
        highlight=False,
    )
    print("from oscine.models import create_model, load_audio")
    print(f'encoder = create_model("local-dir:{out / best / ENCODER}")')
    clip = f'load_audio("{task.rows["path"].iloc[0]}", encoder.sample_rate, seconds=encoder.seconds)'
    print(f"print(encoder({clip}[None]).pooled.shape)")
