"""Write the card of a published encoder, a page for people and metadata for the Hub, from facts alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean, stdev

from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml
from huggingface_hub.utils import yaml_dump
from scipy.special import stdtrit

from oscine import __version__
from oscine.models.encoders.base.provenance import Origin
from oscine.models.errors import OscineError
from oscine.models.hub.origin import PAGES
from oscine.models.publish.facts import Facts, said_to_be
from oscine.models.publish.scores import Scores
from oscine.models.publish.terms import Licence
from oscine.models.text.words import duration

ON_THE_HUB = r"[\w.-]+/[\w.-]+"


def write_card(facts: Facts) -> str:
    """README.md: metadata as the Hub expects them, then what the facts say, section by section."""
    sections = {
        "Use": use(facts),
        "The encoder": the_encoder(facts),
        "Pretraining": pretraining(facts),
        "Data": data(facts),
        "Scores": scores(facts),
        "Limits": limits(facts),
        "Licence": licence(facts),
        "Citation": citation(facts),
    }
    millions = sum(parameter.numel() for parameter in facts.encoder.parameters()) / 1e6
    size = f"with {millions:.1f} M parameters" if millions else "in an ONNX file"
    learnt = "supervised" if facts.supervised else "self-supervised" if facts.encoder.trainable else None  # not known
    what = (
        f"{facts.kind}, {f'a {learnt}' if learnt else 'an'} audio encoder {size}: waveforms at "
        f"{facts.encoder.sample_rate / 1000:g} kHz in clips of {facts.encoder.seconds:g} s to {facts.encoder.dim} numbers "
        f"a clip{', and to the tokens of every layer' if facts.encoder.spatial else ''}."
    )
    tags = [*([learnt] if learnt else []), facts.kind.lower()]
    return page(facts, metadata(facts, "feature-extraction", tags), what, sections)


def page(facts: Facts, told: ModelCardData, what: str, sections: dict[str, str]) -> str:
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections.items() if text)
    return f"---\n{told.to_yaml()}\n---\n\n# {facts.name}\n\n{what}\n\n{body}\n"


def metadata(facts: Facts, task: str, tags: list[str]) -> ModelCardData:
    found = sorted({metric for score in facts.scores for metric in score.folds})
    results = [result for score in facts.scores for result in eval_results(facts, score)]
    return ModelCardData(
        library_name="oscine",
        pipeline_tag=task,
        tags=["audio", "bioacoustics", *tags] + ([f"arxiv:{facts.paper}"] if facts.paper else []),
        license="other" if facts.licence.other else facts.licence.name,
        license_name=facts.licence.name if facts.licence.other else None,
        license_link=facts.licence.link,
        datasets=[one.name for one in facts.data if re.fullmatch(ON_THE_HUB, one.name)] or None,
        base_model=facts.base,
        metrics=found or None,
        model_name=facts.name if results else None,
        eval_results=results or None,
    )


def eval_results(facts: Facts, score: Scores) -> list[EvalResult]:
    """Return every metric's mean for the model-index."""
    return [
        EvalResult(
            task_type="audio-classification",
            dataset_type=score.benchmark.dataset if score.benchmark else score.table,
            dataset_name=score.table,
            metric_type=metric,
            metric_value=round(fmean(values), 6),
            metric_name=f"{metric}, {facts.treatment} encoder, {score.probe}, mean of {len(values)}",
        )
        for metric, values in score.folds.items()
    ]


def benchmark_file(facts: Facts, score: Scores) -> str | None:
    """Write an `.eval_results` file, where the score belongs to a data set on the Hub."""
    if score.benchmark is None:
        return None
    dataset, task, metric = score.benchmark
    values = score.folds[metric]
    entry = EvalResultEntry(
        dataset_id=dataset,
        task_id=task,
        value=round(fmean(values), 6),
        date=score.date,
        source_url=f"{PAGES}/{facts.repository}/blob/{facts.tag}/scores/{score.name}.json",
        source_name="oscine probe",
        notes=f"{metric}, {facts.treatment} encoder, {score.probe}, mean of {len(values)}",
    )
    return yaml_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)


def use(facts: Facts) -> str:
    return f"""{needed(facts, f"oscine embed RECORDINGS --model hf-hub:{facts.repository} --out FILE.parquet")}```python
{imports(facts)}from oscine.models import create_model, load_audio, split_clips
encoder = create_model("hf-hub:{facts.repository}", revision="{facts.tag}")
features = encoder(split_clips(load_audio("recording.wav", encoder.sample_rate), encoder.samples))
```

A recording is resampled, mixed down and cut into clips. `features.pooled` is [clip, dim], `features.cls` [layer, clip, dim],
`features.patches` [layer, clip, time, freq, dim]. Loading is strict and runs nothing from this repository. Saved with oscine
{__version__}; the weights' sha256 is `{facts.published_sha256}`."""


def needed(facts: Facts, command: str) -> str:
    """Say which classes that are not oscine's are needed to load anything. command: a call that needs them."""
    if not facts.own_classes:
        return ""
    modules = sorted({*facts.own_classes.values()})
    if "__main__" in modules:
        names = ", ".join(facts.own_classes)
        raise OscineError(f"{names} is of a script or notebook, which nobody can import; put it in a file of its own")
    classes = ", ".join(f"`{name}` of the module `{module}`" for name, module in facts.own_classes.items())
    plugins = " ".join(f"--plugin {module}.py" for module in modules)
    return (
        f"**It needs code that neither oscine nor this repository holds: {classes}.** Its authors have it. Python imports "
        f"it first, as below; a command is told where it is: `{command} {plugins}`, or `--plugin MODULE` where it is "
        "installed.\n\n"
    )


def imports(facts: Facts) -> str:
    """Write lines of Python that import the classes that are not oscine's."""
    return "".join(f"import {module}  # which its authors have\n" for module in sorted({*facts.own_classes.values()}))


def the_encoder(facts: Facts) -> str:
    encoder = facts.encoder
    heads = encoder.config.get("heads")
    rows = {
        "architecture": facts.kind,
        "sample rate": f"{encoder.sample_rate} Hz",
        "clip": f"{encoder.seconds:g} s",
        "patches": f"{encoder.grid[0]} in time, {encoder.grid[1]} in frequency",
        "layers": f"{encoder.depth}, of width {encoder.dim}{f' with {heads} heads' if heads else ''}",
    }
    if facts.encoder_origin:
        rows["begun with" if facts.encoder_origin.trained else "taken from"] = described(facts.encoder_origin)
    return table(["", ""], [list(row) for row in rows.items()])


def described(origin: Origin) -> str:
    where = f", `{origin.repository}` at `{origin.revision}`" if origin.repository else ""
    return f"{called(origin)}{where}: `{origin.file}`, sha256 `{origin.sha256}`"


def called(origin: Origin) -> str:
    return f"what is said to be `{origin.model}`" if said_to_be(origin) else f"`{origin.model}`"


def pretraining(facts: Facts) -> str:
    run = facts.run
    if run is None:
        return ""
    lines = [f"{run.steps:,} optimiser steps"]
    if run.seconds is not None:
        lines[0] += f" in {duration(run.seconds)}"
    if run.machine:
        lines[0] += f" on {run.machine['devices']} x {run.machine['device']} ({run.machine['precision']})"
    if run.init and not facts.encoder_origin:
        lines.append(f"begun with the weights of `{run.init}`")
    lines += [
        f"{term}: {first:.4g} when first logged, {last:.4g} when last" for term, (first, last) in run.losses.items()
    ]
    text = "\n".join(f"- {line}" for line in lines)
    if run.settings:
        text += f"\n\nAll settings, which `settings.yaml` holds too:\n\n```yaml\n{run.settings.rstrip()}\n```"
    return text


def data(facts: Facts) -> str:
    return table(["data", "licence"], [list(one) for one in facts.data]) if facts.data else ""


def scores(facts: Facts) -> str:
    rows = []
    for score in facts.scores:
        for metric, values in score.folds.items():
            cells = [score.probe, score.table, metric, f"{100 * fmean(values):.1f}", interval(score, metric)]
            rows.append([*cells, ", ".join(f"{100 * value:.1f}" for value in values)])
    if not rows:
        return ""
    return table(["probe", "data", "metric", "mean", "95 % interval", "folds"], rows) + (
        f"\n\nIn percent, the encoder {facts.treatment}. The interval of several folds is Student's, of their mean as if "
        "they were independent, which folds are not quite; that of one is the bootstrap's, over groups of judged rows. "
        "`scores/` holds every setting."
    )


def limits(facts: Facts) -> str:
    encoder = facts.encoder
    lines = [
        f"nothing above {encoder.sample_rate / 2000:g} kHz is heard, whatever the recording holds",
        f"the pooled vector stands for a whole clip of {encoder.seconds:g} s, in which a shorter sound is one of several",
        "it names nothing: a probe fitted on labels does, as well as these are like the recordings to come",
    ]
    if not facts.scores:
        lines.append("nothing has been measured with these very weights")
    return "\n".join(f"- {line}" for line in lines)


def licence(facts: Facts) -> str:
    text = f"The weights: {linked(facts.licence)}."
    origin = facts.encoder_origin
    if origin is None:
        return text
    source = f"They began with {called(origin)}, whose source" if origin.trained else "Their source"
    return f"{text} {source} states: {origin.licence}."


def linked(licence: Licence) -> str:
    return f"[{licence.name}]({licence.link})" if licence.link else licence.name


def citation(facts: Facts) -> str:
    entries = [bibtex(facts.name, f"{facts.name}: weights of {facts.kind}", f"{PAGES}/{facts.repository}")]
    if facts.paper:
        entries.append(bibtex(facts.kind, f"{facts.kind}, arXiv {facts.paper}", f"https://arxiv.org/abs/{facts.paper}"))
    return "```bibtex\n" + "\n".join(entries) + "\n```"


def bibtex(key: str, title: str, url: str) -> str:
    return f"@misc{{{key}, title = {{{title}}}, url = {{{url}}}}}"


def table(header: list[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def interval(score: Scores, metric: str) -> str:
    """Return the 95 % interval of a metric's mean in percent: Student's over folds, of one fold the bootstrap's."""
    values = score.folds[metric]
    low, high = students(values) if len(values) > 1 else score.intervals.get(metric, (None, None))
    return "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def students(values: Sequence[float]) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of two or more values, cut at 0 and 1."""
    reach = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / len(values) ** 0.5
    return max(0.0, fmean(values) - reach), min(1.0, fmean(values) + reach)
