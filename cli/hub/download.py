"""`oscine download NAME ...`: fetch weights into the cache, for machines that will have no network."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from oscine.cli.console.command import Help, Parser, say_loading

if TYPE_CHECKING:
    from oscine.models.hub.download import Fetched


def main(arguments: list[str]) -> None:
    parser = Parser(prog="oscine download", description=inspect.getdoc(download), formatter_class=Help)
    named = 'as "bird_mae_base.xcl", or "hf-hub:OWNER/REPOSITORY[@REVISION]"'
    parser.add_argument("names", nargs="+", type=str, metavar="NAME", help=named)
    download(parser.parse_args(arguments).names)


def download(names: list[str]) -> None:
    """Fetch weights ahead; print where they lie, their commit and their hash.

    A bare name means its first tag; a probe comes with its encoder. They lie in the cache of huggingface_hub (HF_HOME), from
    which create_model and load_probe take them without asking the Hub when HF_HUB_OFFLINE=1. What is there already, as what
    comes with oscine, is not fetched again.
    """
    from oscine.models.zoo import HUB, check_fetchable

    for name in names:
        check_fetchable(name)
    if any(name.startswith(HUB) for name in names):
        say_loading("download", *names)
    for name in names:
        for fetched, weights in fetch_all(name).items():
            size = weights.path.stat().st_size / 1e6
            print(f"{fetched}\n  file      {weights.path} ({size:,.1f} MB)")
            print(f"  revision  {weights.revision}\n  sha256    {weights.sha256}")


def fetch_all(name: str) -> dict[str, Fetched]:
    """Fetch the weights of an encoder, or of a probe and its encoder; return them by their names."""
    from huggingface_hub.errors import EntryNotFoundError

    from oscine.models.errors import OscineError
    from oscine.models.zoo import HUB, fetch_weights

    try:
        return {name: fetch_weights(name)}
    except OscineError as error:
        from oscine.probe.deploy.saved import fetch_with_encoder, holds_probe

        if name.startswith(HUB) and isinstance(error.__cause__, EntryNotFoundError) and holds_probe(name):
            return fetch_with_encoder(name)
        raise
