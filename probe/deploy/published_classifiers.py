"""Know which published weights a classifier comes with, and find it by their name. No torch is needed."""

from __future__ import annotations

from difflib import get_close_matches

from oscine.models import checkpoints
from oscine.models.checkpoints import ARCHITECTURES, find_published
from oscine.models.hub.model_name import ModelName
from oscine.probe.deploy.classifier import PublishedClassifier
from oscine.probe.deploy.file_classifier import FileClassifier
from oscine.probe.deploy.head_classifier import Head, HeadClassifier


def audioprotopnet(prototypes: int) -> Head:
    """Describe AudioProtoPNet's head with so many prototypes a class."""
    names = ("prototype_vectors", "last_layer.weight", "last_layer.bias")
    settings = {"prototypes_per_class": prototypes, "focal": False}
    return Head("PrototypicalProbe", settings, {name: f"head.{name}" for name in names})


# By the row of models/checkpoints.py: those in a file of tensors, and those that an ONNX file gives out.
HEADS = {
    "convnext_base.xcl": Head(
        "LinearProbe", {"pool": "pooled", "norm": "none"},
        {"fc.weight": "classifier.weight", "fc.bias": "classifier.bias"},
    ),
    **{f"convnext_base.ppnet{own}": audioprotopnet(own) for own in (1, 5, 10, 20)},
}  # fmt: skip
FILES = ("birdnet_v3.global_11k", "birdnet_v3.global_11k_fp16", "perch_v2.inat2024_fsd50k")
CLASSIFIERS = (*HEADS, *FILES)
# How an architecture's classifiers call their classes, in which words a list of classes has to be.
CLASS_NAMES = {
    "birdnet_v3": "scientific names",
    "convnext_base": "eBird's codes, such as eurrob1 for Erithacus rubecula",
    "perch_v2": "scientific names",
}


def find_published_classifier(name: str) -> PublishedClassifier | None:
    """Find a classifier by the name of its weights, an architecture or "hf-hub:REPOSITORY"; None where there is none.

    Each may have "@REVISION" behind it.
    """
    called = ModelName.parse(name)
    if called.on_hub:
        row = next((row for row in checkpoints.PUBLISHED if row.repository == called.rest), None)
    else:
        row = find_published(called.name)
    if row and row.name in HEADS:
        return HeadClassifier(row, called.revision, HEADS[row.name])
    return FileClassifier(row, called.revision) if row and row.name in FILES else None


def explain_unknown(name: str) -> str:
    """Say of a name that is no classifier's which one is meant; "" where none is like it."""
    name = ModelName.parse(name).name
    architecture, _, tag = name.partition(".")
    rows = [row.name for row in checkpoints.PUBLISHED if row.architecture == architecture]
    known = [row for row in rows if row in CLASSIFIERS]
    if tag and known and name not in rows:
        return f"the classifiers of {architecture} are {', '.join(known)}"
    if architecture in ARCHITECTURES and tag and name not in rows:
        return f"{architecture} has {', '.join(rows) or 'no weights'}, and comes without a classifier"
    if architecture in ARCHITECTURES:
        return f"{name} is an encoder that comes without a classifier, which oscine probe fits on labelled clips"
    architectures = dict.fromkeys(row.partition(".")[0] for row in CLASSIFIERS)
    near = get_close_matches(name, [*CLASSIFIERS, *architectures], n=1)
    return f"did you mean {near[0]}?" if near else ""
