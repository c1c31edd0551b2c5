"""Tell from a name which fitted probe is meant: a folder, or a classifier that comes with an encoder. No torch is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oscine.models.encoders.base.onnx_file import names_classes
from oscine.models.errors import OscineError
from oscine.models.files import similar_path
from oscine.models.hub.encoder_files import (
    CONFIG,
    check_content,
    check_folder,
    check_weights,
    encoder_folder,
    read_content,
)
from oscine.models.hub.model_name import LOCAL, ModelName
from oscine.models.zoo import check_fetchable, check_model
from oscine.probe.deploy.classifier import Classifier
from oscine.probe.deploy.file_classifier import EncoderClassifier
from oscine.probe.deploy.probe_json import ENCODER, FACTS, SCORES, TENSORS, encoder_name, encoder_revision, read_facts
from oscine.probe.deploy.published_classifiers import explain_unknown, find_published_classifier


def check_probe(probe: str | Path) -> dict[str, Any] | None:
    """Raise what its files tell to be wrong with a fitted probe, short of reading weights, without torch or a network.

    probe: its folder or a run's; or "hf-hub:OWNER/REPOSITORY", or a name of weights that a classifier comes with, of which
    only the name is looked at. What probe.json says is returned.
    """
    if classifier := find_classifier(probe):
        classifier.check()
        return None
    if ModelName.parse(probe).on_hub:
        check_fetchable(str(probe))
        return None
    folder = probe_folder(probe)
    facts = read_facts(folder)
    check_weights(folder / TENSORS)
    if facts["encoder"]["beside"]:
        check_folder(folder / ENCODER)
        return facts
    model = encoder_name(folder, facts["encoder"])
    try:
        check_model(model, pretrained=True, revision=encoder_revision(facts["encoder"]))
    except OscineError as error:
        raise OscineError(f"the probe in {folder} needs its encoder: {error}") from None
    return facts


def find_classifier(name: str | Path) -> Classifier | None:
    """Find the classifier that comes with an encoder of that name, as far as names and this disk tell it.

    It may be published weights, an ONNX file, or a folder with an encoder that is one and names its classes. What else is
    there under the name is no classifier, as is a folder that holds a probe.
    """
    called = ModelName.parse(name)
    if called.is_onnx_file:
        return EncoderClassifier(called)
    if not called.path.exists():
        return find_published_classifier(str(name))
    config = encoder_folder(called.path) / CONFIG
    if find_probe(called.path) or not config.is_file() or not is_classifier(config):
        return None
    return EncoderClassifier(ModelName(LOCAL, str(called.path)))


def is_classifier(config: Path) -> bool:
    """Return whether a config.json of oscine's is that of a classifier with names of its classes."""
    content = read_content(config)
    check_content(content)
    return names_classes(content["config"])


def probe_folder(path: str | Path) -> Path:
    """Return the folder of a probe, which may be named by its run; raise where there is no such folder."""
    path = ModelName.parse(path).path
    if path.exists() and not path.is_dir():
        raise OscineError(f"no probe in {path}, which is a file; name the folder of a run, or of its probe")
    if not path.exists():
        near = similar_path(path)
        meant = f"did you mean {near}?" if near else explain_unknown(str(path)) or "check the path"
        raise OscineError(f"no probe in {path}: there is no such folder; {meant}")
    found = find_probe(path)
    if not found and (path / SCORES).is_file():
        raise OscineError(
            f"no probe in {path}, which has a run's scores alone; where it was stopped, the same call of oscine probe "
            "finishes it (--task.shots keeps no probe)"
        )
    return found or path


def find_probe(path: Path) -> Path | None:
    """Return the folder of the probe that a folder is or holds, if there is one."""
    path = ModelName.parse(path).path
    return next((folder for folder in (path, path / "probe") if (folder / FACTS).is_file()), None)
