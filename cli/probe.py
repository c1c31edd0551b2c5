"""`oscine probe CONFIG`: an encoder, a probe and a task become scores, and how far they can be trusted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from rich.table import Table

from oscine import __version__
from oscine.cli import config
from oscine.cli.bench import Bench
from oscine.cli.command import Misuse, Parser
from oscine.cli.encoder import open_encoder
from oscine.cli.finetuning import add_tuning, check_tuning, tune_clips, tune_shots, with_published
from oscine.cli.judging import PROBE, REPORT, Findings, judge_clips, judge_moments, judge_shots
from oscine.cli.progress import progress_bar
from oscine.cli.searching import SEARCH, SearchSettings, check_search
from oscine.cli.tables import show
from oscine.cli.tasks import ANNOTATED, FOLDER, add_arguments, digest, open_frames, open_task, task_name
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.probe.best_step import check_selection
from oscine.probe.birdset import SETS
from oscine.probe.data import Task
from oscine.probe.fit import FitSettings
from oscine.probe.probe import Probe
from oscine.probe.results import PREDICTIONS, READABLE, RESULTS, SCORES, Run, add_run
from oscine.probe.splits import FOLDS_MADE, write_folds
from oscine.probe.zoo import PROBES

SHOWN = (
    "accuracy", "map", "cmap", "auroc", "f1", "chosen_f1", "frame_map", "onset_f1", "segment_f1", "chosen_onset_f1",
    "chosen_segment_f1",
)  # fmt: skip
# Where published tasks are found.
SOURCES = {
    **{
        name.lower(): "hf download DBD-research-group/BirdSet --repo-type dataset --revision data "
        f'--include "{name}/*" --local-dir BirdSet brings it, for --data BirdSet/{name}'
        for name in SETS
    },
    **dict.fromkeys(("esc50", "esc10"), "git clone https://github.com/karolpiczak/ESC-50 brings it, for --data ESC-50"),
    "speech_commands": "it is http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz, unpacked",
    **dict.fromkeys(
        ("audioset_20k", "audioset_2m"), "its lists are at research.google.com/audioset, its clips on YouTube"
    ),
    "dcase2016": "it is one of the open tasks of hearbenchmark.com, at 48 kHz",
}
PURPOSE = """Judge an encoder, frozen or fine-tuned: fit a probe on labelled clips and score it on others.

The clips are those of your --table, a CSV with the columns path (relative to the table's folder), label (or labels, several
separated by ";"), and fold (each is tested on a probe fitted on the others) or split (train, test, and valid if you have
it), without which folds are made; start and end may name a part of a file. Or they are those of a published task,
--task.name, in the folder --data, or of a folder of your own: --task.name folder (a class for each folder in it) or
annotated (Raven or Audacity tables).

With --finetune the encoder learns, too, as its paper fine-tunes it, and is kept with the probe; killed, such a run goes on
with --resume.

What a frozen encoder makes of the clips is written once below --store, for every probe, fold and seed to read. RUNS/NAME
then holds scores.json, predictions.parquet, report.html, and probe/, which `oscine predict` and `oscine publish` take. Few
shots leave scores.json and report.html; events in recordings (dcase2016) leave scores.json, report.html and probe/."""


def main(arguments: list[str]) -> int | None:
    if not arguments or arguments[0].startswith("-"):
        print(config.usage("probe", "probe", PURPOSE))
        return 0 if {"-h", "--help"} & set(arguments) else 2
    path = config.find("probe", arguments[0])
    content = config.read(path)
    name = content.get("probe")
    if name not in PROBES:
        raise Misuse(f"{path} has probe {name!r}; expected one of {', '.join(PROBES)}")
    probe = PROBES[name]
    settings = parse(probe, path, content, arguments)
    own = content.get("task", {}).get("name")
    run(probe, settings, content.get("name", name).removeprefix(f"{own}_"))  # hsn_cgp is cgp, on HSN or another set
    return None


def parse(probe: type[Probe], path: Path, content: dict[str, Any], arguments: list[str]) -> Namespace:
    """The settings of a call; how to fine-tune depends on some of them, so they are read once to know those."""
    shipped, given = arguments[0] in config.shipped("probe"), arguments[1:]

    def read(first: list[str]) -> Namespace:
        return config.parse(parser(probe), path, [*first, *given])

    plain = [one for one in given if not one.startswith("--print_config")]
    try:
        asked = config.parse(parser(probe), path, plain)
    except Misuse:
        return read([])  # says what is wrong, or prints what is there
    if asked.finetune:
        return with_published(asked, content, shipped, read)
    return asked if plain == given else read([])


def parser(probe: type[Probe]) -> Parser:
    made = config.parser("probe", PURPOSE)
    made.add_argument("--name", type=str, required=True, help="of the run")
    made.add_argument("--runs", type=Path, default=Path("runs/probe"), help="folder that holds the runs")
    made.add_argument("--probe", choices=[probe.__name__], help="the probe's class")
    made.add_argument("--encoder", type=str, required=True, help="a model's name, or local-dir:FOLDER")
    made.add_argument(
        "--random_weights",
        "--random-weights",
        action="store_true",
        help="judge the architecture without training: a baseline",
    )
    add_arguments(made)
    length = PositiveFloat | None  # pyright: ignore[reportOperatorIssue]
    made.add_argument("--seconds", type=length, default=None, help="length of a clip, if not the encoder's")
    made.add_argument("--batch_size", type=PositiveInt, default=1, help="clips that are encoded at once; 16 on a GPU")
    made.add_argument("--workers", type=NonNegativeInt, default=2, help="processes that read and resample")
    made.add_argument("--device", type=str, default="cpu", help="where the encoder runs, such as cuda")
    made.add_argument(
        "--store",
        type=Path | None,
        default=Path("runs/features"),
        help="folder of encoded clips; null: in memory, once",
    )
    made.add_argument(
        "--store_gb",
        type=PositiveFloat,
        default=100.0,
        help="the most that it may hold; for new ones, those go that were not used for longest, and none that is in use",
    )
    made.add_argument("--embeddings", type=Path, default=None, help="instead of encoding: a table by `oscine embed`")
    made.add_argument("--layer_scores", action="store_true", help="score every layer by itself, too, for the report")
    made.add_class_arguments(probe, "head", skip={"encoder", "classes"})
    made.add_class_arguments(FitSettings, "fit")
    add_tuning(made)
    made.add_class_arguments(SearchSettings, "search")
    made.add_argument("--overwrite", action="store_true", help="replace the scores of this name")
    return made


def run(probe: type[Probe], settings: Namespace, called: str) -> None:
    """Fit and judge. called: the probe's name beside other runs' and in published tables, such as cgp."""
    folder = settings.runs / settings.name
    scores = folder / SCORES
    if scores.exists() and not (settings.overwrite or settings.resume):
        raise OscineError(f"{scores} exists; --overwrite replaces it, --name X writes others beside it")
    fit = FitSettings(**settings.fit.as_dict())
    check_source(settings)
    scenes = open_frames(settings)
    check(settings, moments=bool(scenes))
    check_search(probe, settings)
    cut = settings.task.name == ANNOTATED and not settings.seconds  # into clips of the encoder's length
    task = scenes.whole if scenes else None if cut else open_task(settings, settings.seconds or 0.0)
    encoder = open_encoder(settings.encoder, None, settings.random_weights, settings.device, fit.seed)
    task = task or open_task(settings, encoder.seconds)
    check_selection(fit.select_every, task.parts)
    name = task_name(settings)
    with progress_bar() as bar:
        bench = Bench(probe, encoder, settings, folder, bar)
        bench.maker(task)()  # a probe that cannot be built is refused before anything is written
        if scenes:
            found = judge_moments(bench, scenes, name)
        else:
            by_clips, by_shots = (tune_clips, tune_shots) if settings.finetune else (judge_clips, judge_shots)
            found = (by_shots if settings.task.shots else by_clips)(bench, task, name)
        facts = {
            "oscine": __version__,
            "task": name,
            "settings": settings.as_dict(),
            "weights": encoder.provenance,
            "classes": task.classes,
            "rows": len(task.rows),
        }
        clear(folder, searched=settings.search.trials > 0)
        write_whole(scores, (json.dumps(facts | found.scores, indent=2, default=str) + "\n").encode())
        note(settings, encoder.provenance, task, "fine-tuned-" * settings.finetune + called, found)
        if "fold" in task.rows and (settings.table or settings.task.name in (FOLDER, ANNOTATED)):
            write_folds(folder / FOLDS_MADE, task.rows)
        found.rest()
    show(table(found))
    for reason in found.scores.get("evidence", {}).get("unsaid", {}).values():
        print(reason)
    print(f"scores, every part's metrics and all settings: {scores}")
    for kind, made in (
        ("report", folder / REPORT),
        ("which clip is in which fold", folder / FOLDS_MADE),
        ("fitted probe, for oscine predict", folder / PROBE),
    ):
        if made.exists():
            print(f"{kind}: {made}")
    print(
        f"beside other runs and published figures: oscine compare {settings.runs / RESULTS} --task {next(iter(found.rows))}"
    )


def check_source(settings: Namespace) -> None:
    """Refuse a call without clips before anything is fetched for it."""
    name = settings.task.name
    if not settings.table and not settings.data and name in SOURCES:
        raise Misuse(
            f"no --data FOLDER, where {name} lies; {SOURCES[name]}; or give --table FILE.csv, labelled clips of yours"
        )


def check(settings: Namespace, moments: bool) -> None:
    """Refuse settings that do not go together."""
    check_tuning(settings, moments)
    if (settings.head.get("pool") == "frames") != moments:
        raise Misuse("--head.pool frames gives logits for every moment, which dcase2016 asks for, and no other task")
    if settings.embeddings and (settings.seconds or settings.layer_scores):
        raise Misuse(
            "--seconds and --layer_scores ask for clips to be encoded, --embeddings has them encoded; give either"
        )
    if settings.layer_scores and (moments or settings.task.shots):
        raise Misuse("--layer_scores is for clips of which all may be learnt from; leave it out")
    if settings.seconds and moments:
        raise Misuse("--seconds cuts clips, but dcase2016 asks for whole recordings; leave it out")


def clear(folder: Path, searched: bool) -> None:
    """An empty place for what a run leaves: what an earlier one has left there goes, the scores first."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (SCORES, PREDICTIONS, READABLE, REPORT, FOLDS_MADE):
        (folder / file).unlink(missing_ok=True)
    for made in (PROBE,) if searched else (PROBE, SEARCH):
        if (folder / made).exists():
            shutil.rmtree(folder / made)


def note(settings: Namespace, weights: Any, task: Task, called: str, found: Findings) -> None:
    """Add the run to the results file, with whatever changes its scores beside task, encoder, probe and seed."""
    changes = {
        "weights": weights,
        "rows": digest(task),
        "features": kind_of_features(settings),
        "seconds": settings.seconds,
        "task": settings.task.as_dict(),
        "head": settings.head.as_dict(),
        "fit": {**settings.fit.as_dict(), "seed": None},
        **({"search": settings.search.as_dict()} if settings.search.trials else {}),
        **({"tuning": settings.tuning.as_dict()} if settings.finetune else {}),
    }
    for name, row in found.rows.items():
        made = Run(name, settings.encoder, called, settings.fit.seed, row["mean"], row["std"], changes)
        add_run(settings.runs / RESULTS, made)


def kind_of_features(settings: Namespace) -> str | None:
    """How the features were kept that a probe was fitted on; None where the encoder learnt, too."""
    if settings.finetune:
        return None
    return "table" if settings.embeddings else "float32" if settings.store is None else "float16"


def table(found: Findings) -> Table:
    """Mean and spread of the metrics that fit each task, with intervals where there are some."""
    evidence = found.scores.get("evidence", {})
    made = Table("", "", "mean", "std", "95 % interval")
    for task, row in found.rows.items():
        for name in SHOWN:
            interval = evidence.get("intervals", {}).get(name, {})
            value, low, spread = row["mean"].get(name, interval.get("value")), interval.get("low"), row["std"].get(name)
            if value is not None:
                between = "" if low is None else f"{low:.3f} to {interval['high']:.3f}"
                made.add_row(task, name, f"{value:.3f}", "" if spread is None else f"{spread:.3f}", between)
    return made
