"""The rows that make a published encoder one of the zoo: to paste into models/zoo.py and checkpoints.md."""

from __future__ import annotations

import json
import re

import torch

from oscine.models.facts import Facts
from oscine.models.hub import WEIGHTS
from oscine.models.publish import Receipt
from oscine.models.zoo import ARCHITECTURES, Published, create_model

STATE = "real file"  # of a row whose file has been fetched and compared


def rows(facts: Facts, receipt: Receipt) -> list[str]:
    """What to paste, so that `create_model` knows the encoder by a name of the zoo."""
    architecture = facts.official.partition(".")[0] if facts.official else architecture_of(facts)
    data = ", ".join(one.name for one in facts.data) or "not stated"
    row = Published(
        facts.official or f"{architecture}.{slug(facts.data[0].name if facts.data else facts.name)}",
        data, WEIGHTS, facts.licence.name, STATE, facts.repository, receipt.commit, facts.sha256,
    )  # fmt: skip
    encoder = facts.encoder
    millions = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
    paper = ARCHITECTURES[architecture].paper if architecture in ARCHITECTURES else f"arXiv {facts.paper}"
    new = [] if architecture in ARCHITECTURES else [
        "models/zoo.py, ARCHITECTURES:",
        f'    "{architecture}": Architecture({facts.kind}, {encoder.config}, "{paper}"),',
    ]  # fmt: skip
    return [
        *new,
        f"models/zoo.py, PUBLISHED{', in place of the row of that name' if facts.official else ''}:",
        f"    Published({', '.join(json.dumps(value) for value in row)}),",
        "checkpoints.md, where they are:",
        f"| `{row.name}` | `{row.repository}` | `{row.revision}` | `{row.file}` | `{row.sha256}` | {row.licence} |",
        "checkpoints.md, what they are:",
        f"| `{row.name}` | {paper} | {data} | {encoder.sample_rate / 1000:g} kHz | {encoder.seconds:g} s | "
        f"{millions:.1f} M | {row.state} |",
    ]


def architecture_of(facts: Facts) -> str:
    """The zoo's name of these sizes and settings, or the repository's where the zoo has none."""
    for name, architecture in ARCHITECTURES.items():
        if architecture.encoder is type(facts.encoder):
            with torch.device("meta"):
                if create_model(name).config == facts.encoder.config:
                    return name
    return slug(facts.name)


def slug(name: str) -> str:
    """A name's last part, as names of the zoo are written."""
    return re.sub(r"\W+", "_", name.rpartition("/")[2].lower()).strip("_")
