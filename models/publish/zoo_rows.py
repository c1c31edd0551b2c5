"""Write the rows that make a published encoder one of the zoo, for models/checkpoints.py and checkpoints.md."""

from __future__ import annotations

import json
import re
from collections.abc import Container
from itertools import count

from oscine.models.checkpoints import ARCHITECTURES, EMBEDDED, PUBLISHED, Published, find_published
from oscine.models.hub.encoder_files import WEIGHTS
from oscine.models.publish.facts import Facts, said_to_be
from oscine.models.publish.upload import Receipt
from oscine.models.zoo import settings_of

STATE = "real file"  # of a row whose file has been fetched and compared


def zoo_rows(facts: Facts, receipt: Receipt) -> list[str]:
    """Write what to paste so that `create_model` knows the encoder by a name; why not, where it has one."""
    for name, module in facts.own_classes.items():
        return [f"{name} is a class of {module}, not oscine's: the zoo has no row for it"]
    old = find_published(facts.official) if facts.official else None
    if old and (reason := unchanged_reason(facts, old)):
        return [f"{old.name} of models/checkpoints.py stays as it is: {reason}"]
    architecture = old.architecture if old else architecture_of(facts)
    data = ", ".join(one.name for one in facts.data) or "not stated"
    row = Published(
        old.name if old else name_of(facts, architecture), data, WEIGHTS, facts.licence.text, old.state if old else STATE,
        facts.repository, receipt.commit, facts.published_sha256, bool(old and old.supervised),
        old.settings if old else {}, old.described if old else "",
    )  # fmt: skip
    encoder = facts.encoder
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    paper = row.paper if architecture in ARCHITECTURES else f"arXiv {facts.paper}"
    new = [] if architecture in ARCHITECTURES else [
        "models/checkpoints.py, ARCHITECTURES:",
        f'    "{architecture}": Architecture("{facts.kind}", {encoder.config}, "{paper}", {parameters:_}, '
        f"{encoder.sample_rate:_}, {encoder.seconds}),",
    ]  # fmt: skip
    return [
        *new,
        f"models/checkpoints.py, PUBLISHED{', in place of the row of that name' if old else ''}:",
        f"    {written(row)},",
        "checkpoints.md, where they are:",
        f"| `{row.name}` | `{row.repository}` | `{row.revision}` | `{row.file}` | `{row.sha256}` | {row.licence} |",
        "checkpoints.md, what they are:",
        f"| `{row.name}` | {paper} | {data} | {encoder.sample_rate / 1000:g} kHz | {encoder.seconds:g} s | "
        f"{parameters / 1e6:.1f} M | {'yes' if row.supervised else 'no'} | {row.state} |",
    ]


def written(row: Published) -> str:
    """Write a row as it stands in models/checkpoints.py."""
    values = [json.dumps(value) for value in row[:8]]
    rarer = {"supervised": row.supervised, "settings": dict(row.settings), "described": row.described}
    return f"Published({', '.join(values + [f'{name}={value!r}' for name, value in rarer.items() if value])})"


def unchanged_reason(facts: Facts, old: Published) -> str | None:
    if old.state == EMBEDDED:
        return "its weights come with oscine"
    if facts.encoder_origin and said_to_be(facts.encoder_origin):
        return "no hash tells that these are its weights, only whoever converted them says so"
    if facts.encoder.config != settings_of(old.name):
        return "these weights have other settings"
    return None


def architecture_of(facts: Facts) -> str:
    """Return the zoo's name of these sizes and settings, or a new one after the repository."""
    for name, architecture in ARCHITECTURES.items():
        if architecture.encoder == facts.kind and settings_of(name) == facts.encoder.config:
            return name
    return unique_name(slug(facts.name), ARCHITECTURES)


def name_of(facts: Facts, architecture: str) -> str:
    """Return a new architecture.tag, the tag naming the data."""
    tag = slug(facts.data[0].name if facts.data else facts.name)
    return unique_name(f"{architecture}.{tag}", [row.name for row in PUBLISHED])


def unique_name(name: str, taken: Container[str]) -> str:
    """Return a name, with the first number behind it that makes it unique."""
    names = [name] if name not in taken else (f"{name}_{number}" for number in count(2))
    return next(one for one in names if one not in taken)


def slug(name: str) -> str:
    """Write a name's last part as names of the zoo are written."""
    return re.sub(r"\W+", "_", name.rpartition("/")[2].lower()).strip("_")
