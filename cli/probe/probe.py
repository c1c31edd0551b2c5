"""`oscine probe CONFIG`: an encoder, a probe and a task become scores, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from oscine.cli.console import config
from oscine.cli.console.command import Parser, say_loading
from oscine.cli.encode.encoder import check_device, check_encoder
from oscine.cli.probe.published_tuning import with_published
from oscine.cli.probe.tasks import Clips, add_arguments, asks_for_moments, check_task, read_clips
from oscine.models.audio.scan import scan_folder
from oscine.models.errors import Misuse, OscineError
from oscine.models.files import check_name
from oscine.probe.finetune.settings import TuningSettings
from oscine.probe.fit.search_settings import SearchSettings, check_optuna
from oscine.probe.fit.search_space import search_space
from oscine.probe.fit.settings import FitSettings, check_selection
from oscine.probe.heads.registry import PROBES
from oscine.probe.heads.settings import FRAME_WISE, HEADS
from oscine.probe.results.run_files import check_replaceable, recover
from oscine.probe.tasks.settings import BIRDSET

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
PURPOSE = """Judge an encoder, frozen or fine-tuned: fit a probe on labelled clips and score it on others.

The clips are those of your --table, a CSV with the columns path (relative to the table's folder), label (or labels, several
separated by ";"), and fold (each is tested on a probe fitted on the others) or split (train, test, and valid if you have
it), without which folds are made; start and end may name a part of a file. Or they are those of a published task,
--task.name, in the folder --data, or of a folder of your own: --task.name folder (a class for each folder in it) or
annotated (Raven or Audacity tables).

With --finetune the encoder learns, too, as its paper fine-tunes it, and is kept with the probe; killed, such a run goes on
with --resume.

What a frozen encoder makes of the clips is written once below --store, for every probe, fold and seed to read. RUNS/NAME
then holds scores.json, predictions.csv (and .parquet), report.html, and probe/, which `oscine predict` and `oscine publish`
take. Few shots leave scores.json and report.html; events in recordings (dcase2016) leave scores.json, report.html and
probe/."""


def main(arguments: list[str]) -> int | None:
    if not arguments or arguments[0].startswith("-"):
        print(config.usage("probe", "probe", PURPOSE))
        return 0 if {"-h", "--help"} & set(arguments) else 2
    path = config.find("probe", arguments[0])
    content = config.read(path)
    name = content.get("probe")
    if not isinstance(name, str) or name not in PROBES:
        raise Misuse(f"{path} has probe {name!r}; expected one of {', '.join(PROBES)}")
    settings = parse(name, path, content, arguments)
    clips = refuse(name, settings)
    say_loading("probe", settings.encoder)
    from oscine.cli.probe.probe_run import run

    own = content.get("task", {}).get("name")
    called = content.get("name", name).removeprefix(f"{own}_")  # hsn_cgp is cgp, on HSN or another set
    run(PROBES[name], settings, called, clips)
    return None


def parse(probe: str, path: Path, content: Mapping[str, Any], arguments: list[str]) -> Namespace:
    """The settings of a call; how to fine-tune depends on some of them, so they are read once to know those."""
    shipped, given = arguments[0] in config.shipped("probe"), config.added("probe", arguments[1:])

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


def add_tuning(made: Parser) -> None:
    """The arguments of fine-tuning."""
    made.add_argument(
        "--finetune",
        action="store_true",
        help="train the encoder, too, with what the paper of its family sets for that, wherever neither the command line, "
        "nor --config, nor a CONFIG file of yours says otherwise; a CONFIG that comes with oscine is for a frozen encoder: "
        "its numbers give way. A line says which were taken. Unlike the probe of a frozen encoder it does not learn from "
        "silence and noise, its thresholds alone are above them; --tuning.background lays field recordings over clips",
    )
    made.add_class_arguments(TuningSettings, "tuning")
    made.add_order("--resume", action="store_true", help="go on with a fine-tuning that has not ended")


def parser(probe: str) -> Parser:
    made = config.parser("probe", PURPOSE)
    made.add_argument("--name", type=str, required=True, help="of the run")
    made.add_argument("--runs", type=Path, default=Path("runs/probe"), help="folder that holds the runs")
    made.add_argument("--probe", choices=[probe], help="the probe's class")
    made.add_argument("--encoder", type=str, required=True, help="a model's name, or local-dir:FOLDER")
    made.add_argument(
        "--random_weights",
        "--random-weights",
        action="store_true",
        help="judge the architecture without training: a baseline",
    )
    add_arguments(made)
    length = PositiveFloat | None  # pyright: ignore[reportOperatorIssue]
    at_once = PositiveInt | None  # pyright: ignore[reportOperatorIssue]
    made.add_argument("--seconds", type=length, default=None, help="length of a clip, if not the encoder's")
    made.add_argument(
        "--batch_size", type=at_once, default=None, help="clips that are encoded at once; 1 on a CPU, else 16"
    )
    made.add_argument("--workers", type=NonNegativeInt, default=2, help="processes that read and resample")
    made.add_argument(
        "--device", type=str, default="auto", help="where it runs: cpu, cuda, mps; auto: the best that is there"
    )
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
    made.add_class_arguments(head_of(probe), "head", skip={"encoder", "classes"})
    made.add_class_arguments(FitSettings, "fit")
    add_tuning(made)
    made.add_class_arguments(SearchSettings, "search")
    made.add_order("--overwrite", action="store_true", help="replace the scores of this name")
    return made


def head_of(probe: str) -> type:
    """What says which settings a probe has: a dataclass without torch; the class itself where it is not one of oscine's."""
    return HEADS.get(probe) or PROBES[probe]


def refuse(probe: str, settings: Namespace) -> Clips:
    """Refuse what arguments and files alone show to be wrong, before torch is imported; return the clips that were read."""
    folder = settings.runs / check_name(settings.name)
    recover(folder)
    check_replaceable(folder, settings.overwrite or settings.resume)
    fit = FitSettings(**settings.fit.as_dict())
    SearchSettings(settings.search.trials, settings.search.sobol)
    if probe in HEADS:
        HEADS[probe](**settings.head.as_dict())
    if settings.finetune:
        tuning = TuningSettings(**settings.tuning.as_dict())
        if tuning.background:
            scan_folder(tuning.background)
    check_source(settings)
    check_task(settings)
    check(settings, asks_for_moments(settings))
    check_search(probe, settings)
    check_encoder(settings.encoder, None, settings.random_weights)
    check_device(settings.device)
    if settings.embeddings and not settings.embeddings.is_file():
        raise OscineError(f"no table {settings.embeddings}; check the path of --embeddings")
    if settings.embeddings:
        from oscine.models.embed.table import read_schema  # pyarrow, which --help does without

        read_schema(settings.embeddings)
    clips = read_clips(settings)
    if clips.table:
        check_selection(fit.select_every, clips.table.splits)
    return clips


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
    if (settings.head.get("pool") in FRAME_WISE) != moments:
        raise Misuse("--head.pool frames gives logits for every moment, which dcase2016 asks for, and no other task")
    if settings.embeddings and (settings.seconds or settings.layer_scores):
        raise Misuse(
            "--seconds and --layer_scores ask for clips to be encoded, --embeddings has them encoded; give either"
        )
    if settings.layer_scores and (moments or settings.task.shots):
        raise Misuse("--layer_scores is for clips of which all may be learnt from; leave it out")
    if settings.background and (settings.finetune or settings.task.shots):
        raise Misuse(
            "--background is learnt from by the probe that is kept, of a frozen encoder and all clips; leave it out, or "
            "--finetune (which has --tuning.background) and --task.shots"
        )
    if settings.seconds and moments:
        raise Misuse("--seconds cuts clips, but dcase2016 asks for whole recordings; leave it out")


def check_tuning(settings: Namespace, moments: bool) -> None:
    """Refuse settings that do not go together."""
    if not settings.finetune:
        if settings.resume:
            raise Misuse("--resume goes on with a fine-tuning; what was encoded is kept without it: leave it out")
        return
    apart = {
        "--embeddings": settings.embeddings, "--layer_scores": settings.layer_scores,
        "--search.trials": settings.search.trials, str(settings.task.name): moments,
    }  # fmt: skip
    if found := next((name for name, there in apart.items() if there), None):
        raise Misuse(f"--finetune trains on clips, whose features change: {found} does not go with it; leave one out")
    if settings.resume and settings.overwrite:
        raise Misuse("--resume goes on with what --overwrite throws away; give one of them")


def check_search(probe: str, settings: Namespace) -> None:
    """Refuse a search that cannot be."""
    if settings.search.trials:
        if settings.task.shots:
            raise Misuse("--search.trials chooses by all clips, --task.shots learns from a few; give either")
        check_optuna()
        search_space(head_of(probe), settings.search.space.fit, settings.search.space.head)
