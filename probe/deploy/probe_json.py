"""Read and check probe.json, the description of a fitted probe; a stranger may have written it."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from oscine.models.checkpoints import ARCHITECTURES
from oscine.models.encoders.base.onnx_file import names_classes
from oscine.models.encoders.base.provenance import SOURCE
from oscine.models.errors import OscineError
from oscine.models.files import similar_path
from oscine.models.hub.encoder_files import (
    BOUNDS,
    CONFIG,
    WEIGHTS,
    check_content,
    check_folder,
    check_weights,
    encoder_folder,
    read_content,
)
from oscine.models.hub.encoder_files import INSIDE as ENCODER
from oscine.models.hub.model_name import LOCAL, ModelName
from oscine.models.json_text import check_version, fits, read_json, shown
from oscine.models.text.class_names import check_class_names
from oscine.models.zoo import check_fetchable, check_model
from oscine.probe.deploy.published_classifiers import CLASSIFIERS, check_classifier, find_classifier
from oscine.probe.heads.registry import PROBES

TENSORS, FACTS = "probe.safetensors", "probe.json"
SCORES = "scores.json"  # of the run that fitted the probe, beside its folder
OLD_MEDIAN = 3  # of what an older oscine has saved, which did not write it down
BESIDE = [f"{ENCODER}/{file}" for file in (CONFIG, WEIGHTS, SOURCE)]  # the last only where the weights are somebody's
MARK = ("oscine_version", "probe", "encoder")  # of what oscine wrote, in probe.json
MOST = 1e30  # of a logit's scale or shift; beyond, the product would leave float32
LOWEST = -0.5  # of a threshold; 0.1 wrote this where every clip, also one of probability 0, was a yes
NAME = str | None
KINDS: dict[str, Any] = {
    "oscine_version": str, "probe": str, "head": dict[str, Any], "classes": list[str], "single_label": bool,
    "seconds": float, "scaling": dict[str, list[float]] | None, "thresholds": list[float] | None, "median": int,
    "probe_fingerprint": str, "fitted_on": dict[str, Any], "scores": dict[str, float | None], "encoder": dict[str, Any],
}  # fmt: skip
ENCODER_KINDS: dict[str, Any] = {
    "model": NAME, "repository": NAME, "revision": NAME, "weights": NAME, "fingerprint": str, "architecture": str,
    "frontend": str, "config": dict[str, Any], "beside": bool,
}  # fmt: skip


def read_facts(folder: Path) -> dict[str, Any]:
    """Read the probe.json of a folder; every key is there, of its type and size, and this oscine has the probe's class.

    A class of somebody's own is not imported for it.
    """
    path = folder / FACTS
    try:
        facts = read_json(path, "save the probe again")
    except OSError as error:
        raise OscineError(
            f"no probe in {folder} ({error.strerror}: {FACTS}); expected a folder with {FACTS} and {TENSORS}"
        ) from None
    if not isinstance(facts, dict) or "oscine_version" not in facts:
        raise OscineError(f"{path} is no probe of oscine's; expected what oscine probe writes")
    check_version(facts["oscine_version"], path)
    facts.setdefault("median", OLD_MEDIAN)
    if wrong := wrong_types(facts, KINDS) or wrong_types(facts["encoder"], ENCODER_KINDS):
        raise OscineError(f"{path} does not say {', '.join(wrong)} as it should; save the probe again")
    check_class_names(facts["classes"], f"{path} does not say classes as it should: it", "save the probe again")
    for key, expected in wrong_values(facts).items():
        raise OscineError(
            f"{path} does not say {key} as it should: {shown(facts[key])}, expected {expected}; save the probe again"
        )
    try:
        PROBES.check_file(facts["probe"], facts.get("probe_module"), path)
    except OscineError as error:
        raise OscineError(f"{path}: {error}") from None
    return facts


def check_probe(probe: str | Path) -> dict[str, Any] | None:
    """Raise what its files tell to be wrong with a fitted probe, short of reading weights, without torch or a network.

    probe: its folder or a run's; or "hf-hub:OWNER/REPOSITORY", or a name of weights that a classifier comes with, of which
    only the name is looked at. What probe.json says is returned.
    """
    if known := find_classifier(probe):
        check_classifier(known)
        return None
    if ModelName.parse(probe).on_hub:
        check_fetchable(str(probe))
        return None
    if holds_classifier(probe):
        check_model(encoder_of_classifier(probe))
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


def holds_classifier(name: str | Path) -> bool:
    """Return whether a name is of an ONNX file, or of a folder with an encoder that is one and has names of classes.

    A folder with a probe is that probe's.
    """
    called = ModelName.parse(name)
    if called.is_onnx_file:
        return True
    config = encoder_folder(called.path) / CONFIG
    return find_probe(called.path) is None and config.is_file() and says_classifier(config)


def says_classifier(config: Path) -> bool:
    """Return whether a config.json of oscine's is that of a classifier with names of its classes."""
    content = read_content(config)
    check_content(content)
    return names_classes(content["config"])


def encoder_of_classifier(name: str | Path) -> str:
    """Return the name by which `create_model` opens what `holds_classifier` has found."""
    return f"{LOCAL}{name}" if ModelName.parse(name).in_zoo else str(name)


def probe_folder(path: str | Path) -> Path:
    """Return the folder of a probe, which may be named by its run; raise where there is no such folder."""
    path = ModelName.parse(path).path
    if path.exists() and not path.is_dir():
        raise OscineError(f"no probe in {path}, which is a file; name the folder of a run, or of its probe")
    if not path.exists():
        near = similar_path(path) or next(iter(get_close_matches(str(path), CLASSIFIERS, n=1)), None)
        meant = f"; did you mean {near}?" if near else "; check the path"
        if (name := str(path)).partition(".")[0] in ARCHITECTURES and name not in CLASSIFIERS:
            meant = f"; {name} is an encoder that comes without a classifier, which oscine probe fits on labelled clips"
        raise OscineError(f"no probe in {path}: there is no such folder{meant}")
    return find_probe(path) or path


def find_probe(path: Path) -> Path | None:
    """Return the folder of the probe that a folder is or holds, if there is one."""
    path = ModelName.parse(path).path
    return next((folder for folder in (path, path / "probe") if (folder / FACTS).is_file()), None)


def encoder_name(folder: Path, known: dict[str, Any]) -> str:
    """Return the name by which the encoder of probe.json is opened."""
    if not known["model"]:
        raise OscineError(f"{folder} does not say which encoder its probe was fitted on; load it with that one")
    return str(known["model"])


def encoder_revision(known: dict[str, Any]) -> str | None:
    """Return the revision to ask for; what comes with oscine has none, it is known by its hash."""
    return known["revision"] if known["repository"] else None


def wrong_types(facts: dict[str, Any], kinds: dict[str, Any]) -> list[str]:
    """Name the fields that are not there, or of another type."""
    return [key for key, kind in kinds.items() if key not in facts or not fits(facts[key], kind)]


def wrong_values(facts: dict[str, Any]) -> dict[str, str]:
    """Find numbers of the right type that no fitted probe has, and what was expected of them."""
    names, scaling, thresholds = facts["classes"], facts["scaling"], facts["thresholds"]
    shortest, longest = BOUNDS["seconds"]
    rules = {
        "seconds": (shortest <= facts["seconds"] <= longest, f"{shortest:g} to {longest:g}"),
        "scaling": (
            scaling is None or is_scaling(scaling, len(names)),
            f"scale above 0 to {MOST:g}, shift from {-MOST:g} to {MOST:g}: one number of each or one a class",
        ),
        "thresholds": (
            thresholds is None
            or (len(thresholds) == len(names) and all(LOWEST <= number <= 1 for number in thresholds)),
            "a probability from 0 to 1 a class",
        ),
        "median": (0 < facts["median"] < 1000 and facts["median"] % 2 == 1, "an odd number of frames below 1000"),
    }
    return {key: expected for key, (fine, expected) in rules.items() if not fine}


def is_scaling(scaling: dict[str, list[float]], classes: int) -> bool:
    """Return whether numbers can calibrate logits: none turns their order round, or makes them infinite."""
    return (
        scaling.keys() == {"scale", "shift"}
        and all(len(numbers) in (1, classes) for numbers in scaling.values())
        and all(1 / MOST <= number <= MOST for number in scaling["scale"])
        and all(abs(number) <= MOST for number in scaling["shift"])
    )
