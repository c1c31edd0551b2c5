"""`oscine download NAME ...`: fetch weights into the cache, for machines that will have no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oscine.cli.console.command import say_if_slow, say_loading

if TYPE_CHECKING:
    from oscine.models.hub.download import Fetched


def download(name: list[str], /) -> None:
    """Fetch weights ahead; print where they lie, their commit and their hash.

    A bare name means its first tag; a probe comes with its encoder, weights with the names of their classifier's classes.
    They lie in the cache of huggingface_hub (HF_HOME), from which create_model and load_probe take them without asking the
    Hub when HF_HUB_OFFLINE=1. What is there already, as what comes with oscine, is not fetched again.

    Args:
        name: as "bird_mae_base.xcl", or "hf-hub:OWNER/REPOSITORY"; each in a revision with "@REVISION" behind it.
    """
    from oscine.models.hub.model_name import ModelName
    from oscine.models.zoo import check_fetchable

    for one in name:
        check_fetchable(one)
    if any(ModelName.parse(one).on_hub for one in name):
        say_loading("download", *name)
    for one in name:
        with say_if_slow("download", f"asking the Hub for {one}"):
            found = fetch_all(one)
        for fetched, weights in found.items():
            size = weights.path.stat().st_size / 1e6
            print(f"{fetched}\n  file      {weights.path} ({size:,.1f} MB)")
            print(f"  revision  {weights.revision}\n  sha256    {weights.sha256}")


def fetch_all(name: str) -> dict[str, Fetched]:
    """Fetch the weights of an encoder, or of a probe and its encoder; return them by their names."""
    from huggingface_hub.errors import EntryNotFoundError

    from oscine.models.errors import OscineError
    from oscine.models.hub.model_name import ModelName
    from oscine.models.zoo import fetch_weights
    from oscine.probe.deploy.published_classifiers import find_published_classifier

    classifier = find_published_classifier(name)
    try:
        return classifier.fetch() if classifier else {name: fetch_weights(name)}
    except OscineError as error:
        from oscine.probe.deploy.saved_probe import fetch_with_encoder, holds_probe

        if ModelName.parse(name).on_hub and isinstance(error.__cause__, EntryNotFoundError) and holds_probe(name):
            return fetch_with_encoder(name)
        raise
