"""`oscine probe CONFIG`: a frozen encoder, a probe and a labelled table become scores."""

from __future__ import annotations

import json
from pathlib import Path

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from rich.console import Console
from rich.table import Table

from oscine import __version__
from oscine.cli import config
from oscine.cli.command import Misuse, Parser
from oscine.cli.encoder import open_encoder
from oscine.cli.progress import progress_bar
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.probe.attentive import AttentiveProbe
from oscine.probe.convex_gated import ConvexGatedProbe
from oscine.probe.data import Task, read_task
from oscine.probe.efficient import EfficientProbe
from oscine.probe.fit import FitSettings, Judgement, encode_task, judge
from oscine.probe.gated_attention import GatedAttentionProbe
from oscine.probe.head2toe import Head2ToeProbe
from oscine.probe.layer_gated import LayerGatedProbe
from oscine.probe.linear import LinearProbe
from oscine.probe.mlp import MLPProbe
from oscine.probe.probe import Probe
from oscine.probe.protobin import ProtobinProbe, ProtofloatProbe
from oscine.probe.prototypical import PrototypicalProbe
from oscine.probe.results import Run, add_run
from oscine.probe.simpool import SimPoolProbe

PROBES: dict[str, type[Probe]] = {
    probe.__name__: probe
    for probe in (
        LinearProbe, MLPProbe, LayerGatedProbe, Head2ToeProbe, AttentiveProbe, EfficientProbe, SimPoolProbe,
        GatedAttentionProbe, PrototypicalProbe, ProtofloatProbe, ProtobinProbe, ConvexGatedProbe,
    )
}  # fmt: skip
RESULTS = "results.jsonl"
PURPOSE = """Judge a frozen encoder: fit a probe on a labelled table and write RUNS/NAME/scores.json.

The table is a CSV with the columns path (relative to the table's folder), label (or labels, several separated by ";"),
and fold (each is tested on a probe fitted on the others) or split (train, test); start and end may name a part of a file."""


def main(arguments: list[str]) -> int | None:
    if not arguments or arguments[0].startswith("-"):
        print(config.usage("probe", "probe", PURPOSE))
        return 0 if {"-h", "--help"} & set(arguments) else 2
    path = config.find("probe", arguments[0])
    name = config.read(path).get("probe")
    if name not in PROBES:
        raise Misuse(f"{path} has probe {name!r}; expected one of {', '.join(PROBES)}")
    probe = PROBES[name]
    run(probe, config.parse(parser(probe), path, arguments[1:]), config.read(path).get("name", name))
    return None


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
    made.add_argument("--table", type=Path, required=True, help="the labelled table")
    task = "name of the task in RUNS/results.jsonl, which oscine compare reads; the table's own by default"
    made.add_argument("--task", type=str, default=None, help=task)
    length = PositiveFloat | None  # pyright: ignore[reportOperatorIssue]
    made.add_argument("--seconds", type=length, default=None, help="length of a clip, if not the encoder's")
    made.add_argument("--batch_size", type=PositiveInt, default=16, help="clips that are encoded at once")
    made.add_argument("--workers", type=NonNegativeInt, default=2, help="processes that read and resample")
    made.add_argument("--device", type=str, default="cpu", help="where the encoder runs, such as cuda")
    made.add_class_arguments(probe, "head", skip={"encoder", "classes"})
    made.add_class_arguments(FitSettings, "fit")
    made.add_argument("--overwrite", action="store_true", help="replace the scores of this name")
    return made


def run(probe: type[Probe], settings: Namespace, called: str) -> None:
    """Fit and judge. called: the probe's name beside other runs' and in published tables, such as cgp."""
    scores = settings.runs / settings.name / "scores.json"
    if scores.exists() and not settings.overwrite:
        raise OscineError(f"{scores} exists; --overwrite replaces it, --name X writes others beside it")
    head = settings.head.as_dict()
    if head.get("pool") == "frames":
        raise Misuse(
            "--head.pool frames gives logits for every frame, a table gives labels for whole rows; choose another"
        )
    fit = FitSettings(**settings.fit.as_dict())
    task = read_task(settings.table)
    encoder = open_encoder(settings.encoder, None, settings.random_weights, settings.device, fit.seed)

    def make_probe() -> Probe:
        return probe(encoder, len(task.classes), **head)

    needs = make_probe().needs
    with progress_bar() as bar:
        features = encode_task(
            encoder,
            task,
            needs,
            settings.seconds,
            settings.batch_size,
            settings.workers,
            bar.task("encode"),
        )
        judgement = judge(make_probe, features, task, fit, bar.task("fit"), settings.device)
    scores.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "oscine": __version__,
        "settings": settings.as_dict(),
        "weights": encoder.provenance,
        "classes": task.classes,
        "rows": len(task.rows),
        **judgement.as_dict(),
    }
    write_whole(scores, (json.dumps(written, indent=2, default=str) + "\n").encode())
    name = settings.task or settings.table.stem
    changes = {
        "weights": encoder.provenance,
        "seconds": settings.seconds,
        "head": head,
        "fit": {**settings.fit.as_dict(), "seed": None},
    }
    mean, spread = written["mean"], written["std"]
    add_run(settings.runs / RESULTS, Run(name, settings.encoder, called, fit.seed, mean, spread, changes))
    Console().print(table(judgement, task))
    print(f"scores, every part's metrics and all settings: {scores}")
    print(f"beside other runs and published figures: oscine compare {settings.runs / RESULTS} --task {name}")


def table(judgement: Judgement, task: Task) -> Table:
    """Mean and spread of the metrics that fit the task."""
    names = ("accuracy", "map", "cmap", "auroc", "f1")
    made = Table("", *judgement.parts, "mean", "std")
    for name in names:
        values = [getattr(metrics, name) for metrics in judgement.metrics]
        made.add_row(name, *(f"{value:.3f}" for value in (*values, *judgement.summary(name))))
    return made
