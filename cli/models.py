"""`oscine models`: the table of encoders."""

from __future__ import annotations

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from oscine.cli.command import call
from oscine.models.zoo import create_model, list_models


def main(arguments: list[str]) -> int | None:
    return call(models, arguments)


def models(filter: str = "*", pretrained: bool = False) -> None:
    """List the encoders of the zoo: sizes, what they listen to, whether their weights can be fetched.

    Args:
        filter: only names that match this pattern, such as "bat*".
        pretrained: only those whose weights can be fetched by name.
    """
    names = list_models(filter, pretrained)
    if not names:
        print(f"no model {'with weights to fetch ' if pretrained else ''}matches {filter!r}; oscine models lists all")
        return
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
            "yours",
        )
    Console().print(table)
    print("weights 'yours': none can be fetched by name yet; pretrain one, or load a file with checkpoint_path=")
