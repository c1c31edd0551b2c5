"""Say what every classifier does that comes with published weights, and check that an encoder has those weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from oscine.models.checkpoints import ARCHITECTURES, Published
from oscine.models.errors import OscineError
from oscine.models.json_text import shown

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder
    from oscine.models.hub.download import Fetched
    from oscine.probe.deploy.fitted_probe import FittedProbe


class PublishedClassifier(Protocol):
    """A classifier that goes by the name of the weights that it comes with."""

    def load(self, row: Published, revision: str | None, encoder: Encoder | None) -> FittedProbe:
        """Return the probe of a row's files, with its encoder, or with an open one that has these weights and settings."""
        ...

    def fetch(self, row: Published, revision: str | None = None) -> dict[str, Fetched]:
        """Fetch all that `load` needs offline, by what it is."""
        ...


def check_owner(encoder: Encoder, row: Published, sha256: str, measured: Sequence[str] = ()) -> None:
    """Raise where an encoder has not the settings and weights of a row, whose files have that hash.

    measured: settings that are read off the file, which the hash answers for.
    """
    if found := "; ".join(differences(encoder, row, sha256, measured)):
        raise OscineError(
            f"the classifier of {row.name} needs the encoder of that name, with its settings and weights; this one has "
            f"{found}; leave it out"
        )


def differences(encoder: Encoder, row: Published, sha256: str, measured: Sequence[str]) -> Iterator[str]:
    """Yield in which ways an encoder is not the one of a row: what it has, and what was expected."""
    from oscine.models.hub.origin import origin_of
    from oscine.models.zoo import settings_of

    kind, expected = type(encoder).__name__, ARCHITECTURES[row.architecture].encoder
    if kind != expected:
        yield f"the class {kind}, expected {expected}"
        return
    origin = origin_of(encoder)
    if origin is None:
        yield f"weights that are nobody's, expected sha256 {sha256}"
    elif origin.sha256 != sha256:
        yield f"the weights of {origin.model} with sha256 {origin.sha256}, expected {sha256}"
    elif origin.trained:
        yield "weights that were changed since they were loaded"
    settings = settings_of(row.name)
    for name in sorted((settings.keys() | encoder.config.keys()) - {*measured}):
        there, needed = encoder.config.get(name), settings.get(name)
        if there != needed:
            yield f"{name}={shown(there)}, expected {shown(needed)}"
