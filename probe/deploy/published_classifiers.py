"""Load the classifiers that come with published weights as fitted probes, by the names of the weights.

What stands here is known without torch; what fetches or builds imports it itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from oscine.models import checkpoints
from oscine.models.checkpoints import Published, find_published
from oscine.models.errors import OscineError
from oscine.models.hub.encoder_files import CONFIG
from oscine.models.hub.model_name import ModelName
from oscine.models.json_text import fits, read_json, shown
from oscine.models.text.class_names import check_class_names
from oscine.models.zoo import check_fetchable
from oscine.probe.deploy.classifier import PublishedClassifier, check_owner
from oscine.probe.deploy.file_classifier import FileClassifier
from oscine.probe.heads.registry import PROBES
from oscine.probe.tasks.kinds import TaskKind

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder
    from oscine.models.hub.download import Fetched
    from oscine.probe.deploy.fitted_probe import FittedProbe
    from oscine.probe.heads.probe import Probe


class Classifier(NamedTuple):
    """Which probe the classifier in a file of weights is. Its classes are `id2label` of the config.json beside the file.

    probe    the name of its class
    head     settings of that class
    tensors  the probe's tensors, and what they are called in the file
    kind     whether a clip has one of the classes or any number of them
    """

    probe: str
    head: dict[str, Any]
    tensors: Mapping[str, str]
    kind: TaskKind = TaskKind.MULTI

    def load(self, row: Published, revision: str | None, encoder: Encoder | None) -> FittedProbe:
        """Fetch weights and classes of a row; return the probe with its encoder, or with one that has these weights."""
        from oscine.models.encoders.base.fingerprint import digest
        from oscine.models.encoders.base.provenance import Origin
        from oscine.models.zoo import create_model
        from oscine.probe.deploy.fitted_probe import FittedProbe

        weights, labels = self.fetch(row, revision).values()
        if encoder is None:
            encoder = create_model(row.name, pretrained=True, revision=weights.revision)
        else:
            check_owner(encoder, row, weights.sha256)
        classes = read_labels(labels.path)
        probe = self.fill(encoder, len(classes), weights.path)
        origin = Origin(row.name, row.file, weights.sha256, row.licence, row.repository, weights.revision)
        return FittedProbe(
            probe.to(encoder.device).eval(), encoder.eval(), dict(self.head), classes, encoder.seconds, self.kind,
            fitted_on={"task": row.data}, origin=origin._replace(fingerprint=digest(probe.stored())),
        )  # fmt: skip

    def fetch(self, row: Published, revision: str | None = None) -> dict[str, Fetched]:
        """Fetch all that `load` needs offline, of one commit: the weights, then the names of the classes."""
        from oscine.models.hub.download import fetch
        from oscine.models.zoo import fetch_weights

        weights = fetch_weights(row.name, revision)
        return {row.name: weights, f"{row.name}, its classes": fetch(str(row.repository), CONFIG, weights.revision)}

    def fill(self, encoder: Encoder, classes: int, path: Path) -> Probe:
        """Build the probe with the tensors of a file, strictly."""
        import torch

        from oscine.models.hub.layouts import prefix_of
        from oscine.models.hub.weights import beginnings, check_state, read_safetensors, safetensors_names

        kind, there = PROBES[self.probe], safetensors_names(path)
        prefix = prefix_of(there, next(iter(self.tensors.values()))) or ""
        theirs = {ours: prefix + name for ours, name in self.tensors.items()}
        if missing := sorted({*theirs.values()} - {*there}):
            raise OscineError(
                f"{path} has not the head that is a {self.probe}: no {', '.join(missing)} of {', '.join(theirs.values())}; "
                f"its names begin with {beginnings(there)}; ask its authors for another file"
            )
        found = read_safetensors(path, [*theirs.values()])
        with torch.device("meta"):
            expected = {theirs[ours]: tensor for ours, tensor in kind(encoder, classes, **self.head).stored().items()}
        check_state(expected, found, path, f"the {self.probe} of {classes} classes", "ask its authors for another file")
        tensors = {ours: found[name] for ours, name in theirs.items()}
        with torch.random.fork_rng(devices=[]):
            probe = kind(encoder, classes, **self.head)
        probe.load_stored(tensors)
        return probe


def audioprotopnet(prototypes: int) -> Classifier:
    """Describe AudioProtoPNet's head with so many prototypes a class."""
    names = ("prototype_vectors", "last_layer.weight", "last_layer.bias")
    settings = {"prototypes_per_class": prototypes, "focal": False}
    return Classifier("PrototypicalProbe", settings, {name: f"head.{name}" for name in names})


# By the row of models/checkpoints.py.
CLASSIFIERS: dict[str, PublishedClassifier] = {
    "convnext_base.xcl": Classifier(
        "LinearProbe", {"pool": "pooled", "norm": "none"},
        {"fc.weight": "classifier.weight", "fc.bias": "classifier.bias"},
    ),
    **{f"convnext_base.ppnet{own}": audioprotopnet(own) for own in (1, 5, 10, 20)},
    **dict.fromkeys(("birdnet_v3.global_11k", "birdnet_v3.global_11k_fp16", "perch_v2.inat2024_fsd50k"), FileClassifier()),
}  # fmt: skip


class Known(NamedTuple):
    """A classifier that is known by a name: the row of its weights, and the revision that the name asks for."""

    row: Published
    revision: str | None
    classifier: PublishedClassifier


def find_classifier(name: str | Path) -> Known | None:
    """Find a classifier by the name of its weights, an architecture or "hf-hub:REPOSITORY"; None where there is none.

    Each may have "@REVISION" behind it. A folder of that name is a folder.
    """
    if Path(name).exists():
        return None
    name, _, revision = str(name).partition("@")
    called = ModelName.parse(name)
    if called.on_hub:
        row = next((row for row in checkpoints.PUBLISHED if row.repository == called.rest), None)
    else:
        row = find_published(name)
    return Known(row, revision or None, CLASSIFIERS[row.name]) if row and row.name in CLASSIFIERS else None


def check_classifier(known: Known) -> None:
    """Raise what is known without a network to be wrong with the name of a classifier."""
    row = known.row
    if row.repository is None:
        raise OscineError(
            f"{row.name} is a file to get from its authors: put {row.file} into one folder with its list of classes, run "
            f"oscine convert {row.name} FOLDER --checkpoint {row.file}, and name FOLDER"
        )
    check_fetchable(row.name)


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
