"""`oscine models`: the table of encoders, and that of their published weights."""

from __future__ import annotations

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from oscine.cli.command import call
from oscine.models.zoo import PUBLISHED, create_model, list_models


def main(arguments: list[str]) -> int | None:
    return call(models, arguments)


def models(filter: str = "*", pretrained: bool = False) -> None:
    """List the encoders of the zoo: sizes, what they listen to, and where their published weights are.

    Args:
        filter: only names that match this pattern, such as "bat*".
        pretrained: only those whose weights can be fetched by name.
    """
    fetched = list_models(filter, pretrained=True)
    names = sorted({name.partition(".")[0] for name in fetched}) if pretrained else list_models(filter)
    if not names:
        print(f"no model {'with weights to fetch ' if pretrained else ''}matches {filter!r}; oscine models lists all")
        return
    console = Console()
    console.print(encoders(names))
    rows = [row for row in PUBLISHED if row.architecture in names and (row.name in fetched or not pretrained)]
    if rows:
        weights = Table("weights", "from", "licence", "state", box=SIMPLE_HEAD)
        weights.columns[0].no_wrap = weights.columns[1].no_wrap = True  # they are there to be copied
        for row in rows:
            weights.add_row(row.name, row.repository or f"a file: {row.file}", row.licence, row.state)
        console.print(weights)
    print("weights 'yours': pretrain them, or load a file with checkpoint_path=")


def encoders(names: list[str]) -> Table:
    table = Table("name", "parameters", "width", "blocks", "rate", "clip", "weights", box=SIMPLE_HEAD)
    for name in names:
        with torch.device("meta"):
            encoder = create_model(name)
        millions = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
        table.add_row(
            name,
            f"{millions:.1f} M",
            *(str(number) for number in (encoder.dim, encoder.depth)),
            f"{encoder.sample_rate / 1000:g} kHz",
            f"{encoder.seconds:g} s",
            ", ".join(row.name.partition(".")[2] for row in PUBLISHED if row.architecture == name) or "yours",
        )
    return table
