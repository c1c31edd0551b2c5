"""`oscine download NAME ...`: weights into the cache, for machines that will have no network."""

from __future__ import annotations

import inspect

from oscine.cli.command import Help, Parser


def main(arguments: list[str]) -> None:
    parser = Parser(prog="oscine download", description=inspect.getdoc(download), formatter_class=Help)
    named = 'as "bird_mae_base.xcl", or "hf-hub:OWNER/REPOSITORY[@REVISION]"'
    parser.add_argument("names", nargs="+", type=str, metavar="NAME", help=named)
    download(parser.parse_args(arguments).names)


def download(names: list[str]) -> None:
    """Fetch weights ahead; print where they lie, their commit and their hash.

    A bare name means its first tag. They lie in the cache of huggingface_hub (HF_HOME), from which create_model takes them
    without asking the Hub when HF_HUB_OFFLINE=1. What is there already, as what comes with oscine, is not fetched again.
    """
    from oscine.models.zoo import check_fetchable, fetch_weights

    for name in names:
        check_fetchable(name)
    for name in names:
        weights = fetch_weights(name)
        size = weights.path.stat().st_size / 1e6
        print(f"{name}\n  file      {weights.path} ({size:,.1f} MB)")
        print(f"  revision  {weights.revision}\n  sha256    {weights.sha256}")
