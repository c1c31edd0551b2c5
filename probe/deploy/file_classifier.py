"""Make the classifier in an encoder's own ONNX file a fitted probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from oscine.models.checkpoints import Published
from oscine.models.errors import OscineError
from oscine.probe.deploy.classifier import check_owner
from oscine.probe.tasks.kinds import TaskKind

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder
    from oscine.models.encoders.onnx_encoder import ONNXEncoder
    from oscine.models.hub.download import Fetched
    from oscine.probe.deploy.fitted_probe import FittedProbe

# Settings that are read off the file, see `read_onnx`.
MEASURED = ("dim", "grid", "sha256", "joined_sha256", "file_bytes", "class_bytes")
KINDS = {"softmax": TaskKind.SINGLE, "sigmoid": TaskKind.MULTI, "none": TaskKind.MULTI}  # by `activation` of the file


@dataclass(frozen=True)
class FileClassifier:
    """A classifier of the zoo that is an output of an ONNX file, whose class list lies beside it."""

    def load(self, row: Published, revision: str | None, encoder: Encoder | None) -> FittedProbe:
        """Return the probe of a row's file, or of an encoder that was made of the file."""
        from oscine.models.zoo import create_model

        if encoder is None:
            encoder = create_model(row.name, pretrained=True, revision=revision)
        else:
            check_owner(encoder, row, hash_of(row, revision), MEASURED)
        return classifier_of(encoder)

    def fetch(self, row: Published, revision: str | None = None) -> dict[str, Fetched]:
        """Fetch all that `load` needs offline: the file and, unless its repository lacks it, the class list beside it."""
        from oscine.models.zoo import fetch_weights

        return {row.name: fetch_weights(row.name, revision)}


def hash_of(row: Published, revision: str | None) -> str:
    """Return the hash that a row's file has to have: the one that is known, else that of the file on the Hub."""
    from oscine.models.hub.onnx_data import source_hash
    from oscine.models.zoo import fetch_weights

    if row.sha256 and not revision:
        return row.sha256
    fetched = fetch_weights(row.name, revision)
    return source_hash(fetched.path, fetched.sha256)


def classifier_of(encoder: Encoder) -> FittedProbe:
    """Return the scores of an encoder's own ONNX file as a fitted probe that needs no other fit.

    Its encoder is the same file, read for its scores.
    """
    import torch

    from oscine.probe.deploy.fitted_probe import FittedProbe
    from oscine.probe.heads.identity import IdentityProbe
    from oscine.probe.metrics.calibration import Scaling

    model = (encoder.provenance or {}).get("model") or type(encoder).__name__
    if not encoder.of_a_file:
        raise OscineError(f"{model} is no ONNX file and has no classifier of its own; fit a probe on it")
    encoder = cast("ONNXEncoder", encoder)
    config, scoring = encoder.config, encoder.scoring().eval()
    head = {"probabilities": config["activation"] == "none"}
    probe = IdentityProbe(scoring, scoring.dim, **head).eval()
    numbers = [torch.tensor([config[name]], dtype=torch.float64) for name in ("scale", "shift")]
    scaled = (config["scale"], config["shift"]) != (1, 0)
    return FittedProbe(
        probe, scoring, head, encoder.classes, encoder.seconds, KINDS[config["activation"]],
        scaling=Scaling(*numbers) if scaled else None, fitted_on={"task": model}, origin=encoder.origin,
    )  # fmt: skip
