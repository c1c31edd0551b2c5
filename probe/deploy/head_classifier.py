"""Load the classifier in a file of tensors, beside an encoder's, as a fitted probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from oscine.models.checkpoints import Published
from oscine.models.errors import OscineError
from oscine.models.hub.encoder_files import CONFIG
from oscine.models.json_text import fits, read_json, shown
from oscine.models.text.class_names import check_class_names
from oscine.models.zoo import check_fetchable
from oscine.probe.deploy.classifier import check_owner, other_than_row
from oscine.probe.heads.registry import PROBES
from oscine.probe.tasks.kinds import TaskKind

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder
    from oscine.models.hub.download import Fetched
    from oscine.probe.deploy.fitted_probe import FittedProbe
    from oscine.probe.heads.probe import Probe


class Head(NamedTuple):
    """Which probe the classifier in a file of weights is.

    probe    the name of its class
    head     settings of that class
    tensors  the probe's tensors, and what they are called in the file
    kind     whether a clip has one of the classes or any number of them
    """

    probe: str
    head: dict[str, Any]
    tensors: Mapping[str, str]
    kind: TaskKind = TaskKind.MULTI


class Files(NamedTuple):
    """The files of a classifier: its weights with the encoder's, and the names of its classes."""

    weights: Fetched
    labels: Fetched


@dataclass(frozen=True)
class HeadClassifier:
    """A head among the weights of a row. Its classes are `id2label` of the config.json beside the file."""

    row: Published
    revision: str | None
    head: Head

    def check(self) -> None:
        check_fetchable(self.row.name)

    def load(self, encoder: Encoder | None) -> FittedProbe:
        from oscine.models.encoders.base.fingerprint import digest
        from oscine.models.encoders.base.provenance import Origin
        from oscine.models.zoo import create_model
        from oscine.probe.deploy.fitted_probe import FittedProbe

        row, head, (weights, labels) = self.row, self.head, self.files()
        if encoder is None:
            encoder = create_model(row.name, pretrained=True, revision=weights.revision)
        else:
            check_owner(row.name, other_than_row(encoder, row, weights.sha256))
        classes = read_labels(labels.path)
        probe = fill(head, encoder, len(classes), weights.path)
        origin = Origin(row.name, row.file, weights.sha256, row.licence, row.repository, weights.revision)
        return FittedProbe(
            probe.to(encoder.device).eval(), encoder.eval(), dict(head.head), classes, encoder.seconds, head.kind,
            fitted_on={"task": row.data}, origin=origin._replace(fingerprint=digest(probe.stored())),
        )  # fmt: skip

    def fetch(self) -> dict[str, Fetched]:
        files = self.files()
        return {self.row.name: files.weights, f"{self.row.name}, its classes": files.labels}

    def files(self) -> Files:
        """Fetch what it is made of, of one commit."""
        from oscine.models.hub.download import fetch
        from oscine.models.zoo import fetch_weights

        weights = fetch_weights(self.row.name, self.revision)
        return Files(weights, fetch(str(self.row.repository), CONFIG, weights.revision))


def fill(head: Head, encoder: Encoder, classes: int, path: Path) -> Probe:
    """Build the probe with the tensors of a file, strictly."""
    import torch

    from oscine.models.hub.layouts import prefix_of
    from oscine.models.hub.weights import beginnings, check_state, read_safetensors, safetensors_names

    kind, there = PROBES[head.probe], safetensors_names(path)
    prefix = prefix_of(there, next(iter(head.tensors.values()))) or ""
    theirs = {ours: prefix + name for ours, name in head.tensors.items()}
    if missing := sorted({*theirs.values()} - {*there}):
        raise OscineError(
            f"{path} has not the head that is a {head.probe}: no {', '.join(missing)} of {', '.join(theirs.values())}; "
            f"its names begin with {beginnings(there)}; ask its authors for another file"
        )
    found = read_safetensors(path, [*theirs.values()])
    with torch.device("meta"):
        expected = {theirs[ours]: tensor for ours, tensor in kind(encoder, classes, **head.head).stored().items()}
    check_state(expected, found, path, f"the {head.probe} of {classes} classes", "ask its authors for another file")
    with torch.random.fork_rng(devices=[]):
        probe = kind(encoder, classes, **head.head)
    probe.load_stored({ours: found[name] for ours, name in theirs.items()})
    return probe


def read_labels(path: Path) -> list[str]:
    """Read the names of classes from a config.json of transformers, in the order of the logits."""
    content = read_json(path, "ask for another revision")
    labels = content.get("id2label") if isinstance(content, dict) else None
    if (
        not labels
        or not fits(labels, dict[str, str])
        or labels.keys() != {str(number) for number in range(len(labels))}
    ):
        raise OscineError(f"{path} has id2label {shown(labels)}, expected the name of each class by its number from 0")
    classes = [labels[str(number)] for number in range(len(labels))]
    check_class_names(classes, f"id2label of {path}", "ask for another revision")
    return classes
