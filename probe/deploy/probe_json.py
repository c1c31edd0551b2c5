"""Read and check probe.json, the description of a fitted probe; a stranger may have written it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oscine.models.encoders.base.provenance import SOURCE
from oscine.models.errors import OscineError
from oscine.models.hub.encoder_files import BOUNDS, CONFIG, WEIGHTS
from oscine.models.hub.encoder_files import INSIDE as ENCODER
from oscine.models.json_text import check_version, fits, read_json, shown
from oscine.models.text.class_names import check_class_names
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
