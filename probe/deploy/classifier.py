"""Say what every classifier does that comes with an encoder, and tell in which ways an encoder is another one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from oscine.models.checkpoints import ARCHITECTURES, Published
from oscine.models.errors import OscineError
from oscine.models.json_text import shown

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder
    from oscine.models.hub.download import Fetched
    from oscine.probe.deploy.fitted_probe import FittedProbe


class Classifier(Protocol):
    """A classifier that is found by the name of the encoder that it comes with."""

    def check(self) -> None:
        """Raise what is known without torch or a network to be wrong with the name."""
        ...

    def load(self, encoder: Encoder | None) -> FittedProbe:
        """Return it as a fitted probe with its encoder, or with an open one that has the same weights and settings."""
        ...


class PublishedClassifier(Classifier, Protocol):
    """One that goes by the name of published weights."""

    def fetch(self) -> dict[str, Fetched]:
        """Fetch all that `load` needs offline, by what it is."""
        ...


def check_owner(name: str, differences: Iterable[str]) -> None:
    """Raise where an encoder differs from the one that a classifier comes with, of that name."""
    if found := "; ".join(differences):
        raise OscineError(
            f"the classifier of {name} needs the encoder of that name, with its settings and weights; this one has {found}; "
            "leave it out"
        )


def other_than_row(encoder: Encoder, row: Published, sha256: str, from_file: Collection[str] = ()) -> Iterator[str]:
    """Yield in which ways an encoder is not the one of a row, whose files have that hash.

    from_file: settings that are read off the file, which the hash answers for.
    """
    from oscine.models.hub.origin import origin_of
    from oscine.models.zoo import settings_of

    origin, kind = origin_of(encoder), ARCHITECTURES[row.architecture].encoder
    if type(encoder).__name__ == kind:
        if origin is None:
            yield f"weights that are nobody's, expected sha256 {sha256}"
        elif origin.sha256 != sha256:
            yield f"the weights of {origin.model} with sha256 {origin.sha256}, expected {sha256}"
        elif origin.trained:
            yield "weights that were changed since they were loaded"
    yield from other_settings(encoder, kind, settings_of(row.name), from_file)


def other_settings(
    encoder: Encoder, kind: str, settings: Mapping[str, Any], unlike: Collection[str] = ()
) -> Iterator[str]:
    """Yield in which ways an encoder is not of that class with those settings. unlike: settings that may differ."""
    if (found := type(encoder).__name__) != kind:
        yield f"the class {found}, expected {kind}"
        return
    for name in sorted((settings.keys() | encoder.config.keys()) - {*unlike}):
        there, needed = encoder.config.get(name), settings.get(name)
        if there != needed:
            yield f"{name}={shown(there)}, expected {shown(needed)}"
