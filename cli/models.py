"""`oscine models`: the table of encoders."""

from __future__ import annotations

from oscine.cli.command import call


def models(filter: str = "*", pretrained: bool = False) -> None:
    """List the encoders of the zoo with their sizes, sample rates and weights.

    Args:
        filter: only names that match this pattern, such as "bat*".
        pretrained: only those with published weights.
    """
    print(filter, pretrained)


def main(arguments: list[str]) -> int | None:
    return call(models, arguments)
