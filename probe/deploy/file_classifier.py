"""Make the classifier in an encoder's own ONNX file a fitted probe: a row's, or in a folder, a repository, a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from oscine.models.checkpoints import ONNX_ENCODER, Published
from oscine.models.errors import OscineError
from oscine.models.hub.encoder_files import CONFIG, encoder_folder
from oscine.models.hub.model_name import ModelName
from oscine.models.zoo import check_fetchable, check_model
from oscine.probe.deploy.classifier import check_owner, other_settings, other_than_row
from oscine.probe.tasks.kinds import TaskKind

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder
    from oscine.models.encoders.onnx_encoder import ONNXEncoder
    from oscine.models.hub.download import Fetched
    from oscine.probe.deploy.fitted_probe import FittedProbe

# Settings that are read off the file, see `read_onnx`.
READ_FROM_FILE = ("dim", "grid", "sha256", "joined_sha256", "file_bytes", "class_bytes")
KINDS = {"softmax": TaskKind.SINGLE, "sigmoid": TaskKind.MULTI, "none": TaskKind.MULTI}  # by `activation` of the file


@dataclass(frozen=True)
class FileClassifier:
    """A classifier of the zoo that is an output of an ONNX file, whose class list lies beside it."""

    row: Published
    revision: str | None

    def check(self) -> None:
        row = self.row
        if row.repository is None:
            raise OscineError(
                f"{row.name} is a file to get from its authors: put {row.file} into one folder with its list of classes, "
                f"run oscine convert {row.name} FOLDER --checkpoint {row.file}, and name FOLDER"
            )
        check_fetchable(row.name)

    def load(self, encoder: Encoder | None) -> FittedProbe:
        from oscine.models.zoo import create_model, fetch_weights

        if encoder is not None:
            check_owner(self.row.name, other_than_row(encoder, self.row, self.file_hash(), READ_FROM_FILE))
            return classifier_of(encoder)
        self.check()
        revision = fetch_weights(self.row.name, self.revision).revision
        return classifier_of(create_model(self.row.name, pretrained=True, revision=revision))

    def fetch(self) -> dict[str, Fetched]:
        """Fetch the file and, unless its repository lacks it, the class list beside it."""
        from oscine.models.zoo import fetch_weights

        return {self.row.name: fetch_weights(self.row.name, self.revision)}

    def file_hash(self) -> str:
        """Return the hash that the file has to have: the one that is known, else that of the file on the Hub."""
        from oscine.models.hub.onnx_data import source_hash

        if self.row.sha256 and not self.revision:
            return self.row.sha256
        [fetched] = self.fetch().values()
        return source_hash(fetched.path, fetched.sha256)


@dataclass(frozen=True)
class EncoderClassifier:
    """The classifier in the file of an encoder that is named as `create_model` takes it: no row of the zoo."""

    name: ModelName

    def check(self) -> None:
        check_model(str(self.name))

    def load(self, encoder: Encoder | None) -> FittedProbe:
        from oscine.models.zoo import create_model

        if encoder is None:
            return classifier_of(create_model(str(self.name)))
        check_owner(str(self.name), self.differences(encoder))
        return classifier_of(encoder)

    def differences(self, encoder: Encoder) -> Iterator[str]:
        """Yield in which ways an open encoder is not this one, which is not opened for it."""
        import torch

        from oscine.models.hub.folder import read_config
        from oscine.models.hub.onnx_data import joined_hash

        self.check()
        if self.name.is_onnx_file:  # it says no settings; the hash of what it holds is one
            there = {"joined_sha256": joined_hash(self.name.path)}
            return other_settings(encoder, ONNX_ENCODER, there, encoder.config.keys() - there)
        with torch.device("meta"):
            expected = read_config(self.config_file())
        return other_settings(encoder, type(expected).__name__, expected.config)

    def config_file(self) -> Path:
        """Return where its config.json lies, fetched if it is on the Hub."""
        if not self.name.on_hub:
            return encoder_folder(self.name.path) / CONFIG

        from oscine.models.hub.download import fetch

        return fetch(self.name.rest, CONFIG, self.name.revision).path


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
