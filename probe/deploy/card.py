"""Write the card of a published probe from facts: what it names, on which encoder, and how well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oscine.models.encoders.base.provenance import Origin
from oscine.models.plugins.classes import module_of
from oscine.models.publish.card import (
    called,
    citation,
    data,
    described,
    imports,
    linked,
    metadata,
    needed,
    page,
    scores,
    table,
)
from oscine.models.publish.facts import Facts
from oscine.probe.deploy.fitted_probe import FittedProbe


@dataclass(frozen=True, kw_only=True)
class ProbeFacts(Facts):
    """All that is known of a probe that is published; `encoder` is the one that it reads."""

    fitted: FittedProbe
    encoder_name: str  # where the encoder is: its repository and commit, or a word for "in this one"
    probe_origin: Origin | None = None  # whose probe it is or began as
    settings: str | None = None  # the complete YAML of the run that judged it, without this machine's paths

    @property
    def probe(self) -> str:
        """The name of its class."""
        return type(self.fitted.probe).__name__

    @property
    def base(self) -> str | None:
        return self.probe_origin.repository if self.probe_origin else super().base

    @property
    def own_classes(self) -> dict[str, str]:
        module = module_of(type(self.fitted.probe))
        return super().own_classes | ({self.probe: module} if module else {})

    @property
    def finetuned(self) -> dict[str, Any]:
        """The settings with which the encoder was trained together with the probe; empty where it was frozen."""
        return self.fitted.fitted_on.get("finetuned") or {}

    @property
    def treatment(self) -> str:
        return "fine-tuned" if self.finetuned else super().treatment


def write_probe_card(facts: ProbeFacts) -> str:
    sections = {
        "Use": use(facts),
        "The probe": the_probe(facts),
        "Settings": settings(facts),
        "Classes": ", ".join(f"`{name}`" for name in facts.fitted.classes),
        "Data": data(facts),
        "Scores": f"{scores(facts)}\n\n{means(facts)}".strip(),
        "Limits": limits(facts),
        "Licence": licence(facts),
        "Citation": citation(facts),
    }
    fitted, labels = facts.fitted, "one of" if facts.fitted.single_label else "any of"
    what = (
        f"A probe that hears {labels} {len(fitted.classes)} classes in clips of {fitted.seconds:g} s: {facts.probe} on a "
        f"{facts.treatment} {facts.kind}."
    )
    return page(
        facts, metadata(facts, "audio-classification", [facts.probe.lower(), facts.kind.lower()]), what, sections
    )


def use(facts: ProbeFacts) -> str:
    return f"""{needed(facts, f"oscine predict RECORDINGS --probe hf-hub:{facts.repository} --out FILE.csv")}```python
{imports(facts)}from oscine import models, probe
heard = probe.load_probe("hf-hub:{facts.repository}@{facts.tag}")
said = heard(models.split_clips(models.load_audio("recording.wav", heard.encoder.sample_rate), heard.samples))
```

`said` is [clip, class], or [clip, frame, class]: probabilities in the order of `heard.classes`. `oscine predict` writes them
for a folder of recordings. Loading is strict and runs nothing from this repository."""


def the_probe(facts: ProbeFacts) -> str:
    fitted = facts.fitted
    rows = {
        "probe": facts.probe,
        "settings": ", ".join(f"{name} {value}" for name, value in fitted.head.items()),
        "encoder": f"{facts.kind}, {facts.treatment}, {facts.encoder_name}",
        "sample rate": f"{facts.encoder.sample_rate} Hz",
        "clip": f"{fitted.seconds:g} s",
        "probabilities": f"{fitted.kind.activation}, {'' if fitted.scaling else 'not '}calibrated",
        "thresholds": "one a class, in `probe.json`" if fitted.thresholds is not None else "none were chosen",
        "fitted on": f"{fitted.fitted_on.get('rows', 'some')} rows of {fitted.fitted_on.get('task') or 'a table'}",
        "sha256": f"`{facts.published_sha256}`",
    }
    if facts.finetuned:
        settings = (f"{name} {value}" for name, value in facts.finetuned.items() if name != "began_with")
        rows["fine-tuned with"] = ", ".join(settings)
    if facts.probe_origin:
        rows["probe begun with" if facts.probe_origin.trained else "probe taken from"] = described(facts.probe_origin)
    if facts.encoder_origin:
        rows["encoder begun with" if facts.encoder_origin.trained else "encoder taken from"] = described(
            facts.encoder_origin
        )
    return table(["", ""], [[name, str(text)] for name, text in rows.items()])


def settings(facts: ProbeFacts) -> str:
    if facts.settings is None:
        return ""
    return f"Of `oscine probe`; `settings.yaml` holds them too:\n\n```yaml\n{facts.settings.rstrip()}\n```"


def means(facts: ProbeFacts) -> str:
    rows = [[name, f"{100 * value:.1f}"] for name, value in facts.fitted.scores.items() if value is not None]
    if not rows:
        return ""
    judged = ", ".join(map(str, facts.fitted.fitted_on.get("judged", []))) or "no part"
    return (
        f"{table(['metric', 'mean'], rows)}\n\nIn percent, on rows that the judged probe had not learnt from: {judged}."
    )


def limits(facts: ProbeFacts) -> str:
    lines = [
        f"it knows {len(facts.fitted.classes)} classes and gives each its share, also where none of them sounds",
        f"nothing above {facts.encoder.sample_rate / 2000:g} kHz is heard, whatever the recording holds",
        "it is as good as the rows that it learnt from are like the recordings to come",
    ]
    return "\n".join(f"- {line}" for line in lines)


def licence(facts: ProbeFacts) -> str:
    """State the probe's; and what the sources of it and of its encoder state."""
    text = f"The probe: {linked(facts.licence)}."
    for name, origin in (("It", facts.probe_origin), ("Its encoder", facts.encoder_origin)):
        if origin:
            was = "began with" if origin.trained else "is"
            text += f" {name} {was} {called(origin)}, whose source states: {origin.licence}."
    return text
