"""A fitted probe as a folder, and back with its encoder by one call.

    probe.safetensors  what `Probe.stored` gives: binarised prototypes keep one bit a weight
    probe.json         all the rest
    encoder/           the encoder as `save_pretrained` writes it, where probe.json says so

probe.json holds

    oscine_version
    probe              its class, a key of `PROBES`
    head               that class's settings, beside encoder and classes
    classes            their names, in the order of the logits
    single_label       true: softmax, false: sigmoid
    seconds            of a clip
    scaling            {"scale": [...], "shift": [...]}, one number or one a class; or null
    thresholds         one a class, of probabilities; or null
    probe_fingerprint  hash of the tensors in probe.safetensors
    fitted_on, scores  facts: task, rows learnt from, parts judged on; metric to mean over the parts
    encoder            model (name of the zoo, hf-hub: or local-dir:), repository, revision (the commit that is fetched),
                       weights (their file's sha256), fingerprint (hash of the weights), architecture, frontend, config;
                       beside: whether it lies in encoder/

A folder without probe.json holds no probe: it is the last file to be written, and the first to go.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_type_hints

import torch
from safetensors.torch import save

from oscine import __version__
from oscine.models.embed import describe_encoder
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.fetch import fetch
from oscine.models.files import write_whole
from oscine.models.hub import CONFIG, WEIGHTS, fits, load_pretrained, release, save_pretrained
from oscine.models.vectors import digest
from oscine.models.weights import read_safetensors
from oscine.models.zoo import HUB, LOCAL, create_model
from oscine.probe.calibration import Scaling
from oscine.probe.fitted import FittedProbe
from oscine.probe.probe import Probe
from oscine.probe.zoo import PROBES

TENSORS, FACTS, ENCODER = "probe.safetensors", "probe.json", "encoder"
KINDS: dict[str, Any] = {
    "oscine_version": str, "probe": str, "head": dict, "classes": list, "single_label": bool, "seconds": float,
    "scaling": dict | None, "thresholds": list | None, "probe_fingerprint": str, "fitted_on": dict, "scores": dict,
    "encoder": dict,
}  # fmt: skip


def save_probe(fitted: FittedProbe, folder: str | Path, with_encoder: bool | None = None) -> Path:
    """Write a fitted probe into a folder, in place of one that is there; `load_probe` reads it.

    with_encoder: put the encoder's weights beside it; None does so only where they could not be found again by a name.
    """
    folder = Path(folder)
    known = describe_encoder(fitted.encoder)
    if (known["model"] or "").startswith(LOCAL):
        known["model"] = LOCAL + str(Path(known["model"].removeprefix(LOCAL)).resolve())
    elif with_encoder is None:
        with_encoder = not known["repository"]
    facts = {
        "oscine_version": __version__,
        **fitted.describe(),
        "seconds": fitted.seconds,
        "thresholds": None if fitted.thresholds is None else fitted.thresholds.tolist(),
        "fitted_on": fitted.fitted_on,
        "scores": fitted.scores,
        "encoder": known | {"beside": bool(with_encoder)},
    }
    text = json.dumps(facts, indent=2, allow_nan=False) + "\n"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in fitted.probe.stored().items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)
    if with_encoder:
        save_pretrained(fitted.encoder, folder / ENCODER)
    write_whole(folder / TENSORS, save(tensors, metadata={"format": "pt"}))
    write_whole(folder / FACTS, text.encode())
    return folder


def load_probe(folder: str | Path, encoder: Encoder | None = None) -> FittedProbe:
    """The probe that `save_probe` wrote, with its encoder, in eval mode and on the encoder's device.

    folder: or "hf-hub:OWNER/REPOSITORY" of a published one, also with "@REVISION".

    The encoder is the one beside it, else it is opened by its name, in the revision that it had. encoder: one that is open
    already; either must have the very weights and settings that the probe was fitted on. A tensor that is missing, too many
    or misshapen is an error.
    """
    folder = fetch_probe(str(folder)) if str(folder).startswith(HUB) else Path(folder)
    facts = read_facts(folder)
    encoder = _open_encoder(folder, facts["encoder"]) if encoder is None else encoder
    now = describe_encoder(encoder)
    differ = [key for key in ("architecture", "config", "fingerprint") if now[key] != facts["encoder"].get(key)]
    if differ:
        raise OscineError(
            f"the probe in {folder} was fitted on {facts['encoder'].get('model') or 'an encoder without a name'}, this "
            f"encoder has another {differ[0]}; load the probe with that one"
        )
    probe = _build(folder, facts, encoder)
    scaling = facts["scaling"] and Scaling(**{name: torch.tensor(it) for name, it in facts["scaling"].items()})
    thresholds = facts["thresholds"] and torch.tensor(facts["thresholds"], dtype=torch.float64)
    return FittedProbe(
        probe.to(encoder.device).eval(),
        encoder.eval(),
        scaling=scaling,
        thresholds=thresholds,
        **{name: facts[name] for name in ("head", "classes", "seconds", "single_label", "fitted_on", "scores")},
    )


def fetch_probe(name: str) -> Path:
    """Where a probe of the Hub lies in the cache, fetched unless it is there: all files of one commit, none of them run."""
    repository, _, revision = name.removeprefix(HUB).partition("@")
    found = fetch(repository, FACTS, revision or None)
    folder = found.path.parent
    beside = [f"{ENCODER}/{CONFIG}", f"{ENCODER}/{WEIGHTS}"] if read_facts(folder)["encoder"].get("beside") else []
    for file in (TENSORS, *beside):
        fetch(repository, file, found.revision)
    return folder


def read_facts(folder: Path) -> dict[str, Any]:
    """What probe.json says, if this oscine can read it."""
    path = folder / FACTS
    try:
        facts = json.loads(path.read_bytes())
    except OSError as error:
        raise OscineError(
            f"no probe in {folder} ({error.strerror}: {FACTS}); expected a folder with {FACTS} and {TENSORS}"
        ) from None
    except ValueError as error:
        raise OscineError(f"{path} is no JSON ({error}); save the probe again") from None
    if not isinstance(facts, dict) or "oscine_version" not in facts:
        raise OscineError(f"{path} is no probe of oscine's; expected what oscine probe writes")
    if release(str(facts["oscine_version"])) > release(__version__):
        raise OscineError(f"{path} is of oscine {facts['oscine_version']}, this is {__version__}; update oscine")
    wrong = [key for key, kind in KINDS.items() if key not in facts or not fits(facts[key], kind)]
    if wrong:
        raise OscineError(f"{path} does not say {', '.join(wrong)} as it should; save the probe again")
    if facts["probe"] not in PROBES:
        raise OscineError(f"{path}: unknown probe {facts['probe']!r}; known are {', '.join(PROBES)}")
    return facts


def _open_encoder(folder: Path, known: dict[str, Any]) -> Encoder:
    if known.get("beside"):
        encoder = load_pretrained(folder / ENCODER)
        if known.get("model"):  # what it is called elsewhere says more than where it lies
            encoder.provenance = {key: known[key] for key in ("model", "repository", "revision")}
            encoder.provenance["sha256"] = known["weights"]
        return encoder
    model = known.get("model")
    if not model:
        raise OscineError(f"{folder} does not say which encoder its probe was fitted on; load it with that one")
    settings = {} if model.startswith((HUB, LOCAL)) else known["config"]  # which those bring themselves
    try:
        return create_model(model, pretrained=True, revision=known.get("revision"), **settings)
    except OscineError as error:
        raise OscineError(f"the probe in {folder} needs its encoder: {error}") from None


def _build(folder: Path, facts: dict[str, Any], encoder: Encoder) -> Probe:
    kind, head, classes = PROBES[facts["probe"]], facts["head"], facts["classes"]
    hints = {name: hint for name, hint in get_type_hints(kind.__init__).items() if name not in ("encoder", "classes")}
    wrong = [f"{name}={value!r}" for name, value in head.items() if name not in hints or not fits(value, hints[name])]
    if wrong:
        raise OscineError(f"{folder / FACTS}: {kind.__name__} cannot have {', '.join(wrong)}; save the probe again")
    with torch.random.fork_rng(devices=[]):
        probe = kind(encoder, len(classes), **head)
    path = folder / TENSORS
    tensors, expected = read_safetensors(path), probe.stored()
    differ = sorted(
        name
        for name in tensors.keys() | expected.keys()
        if name not in tensors or name not in expected or tensors[name].shape != expected[name].shape
    )
    if differ:
        raise OscineError(
            f"{path} does not fit {kind.__name__}: tensors {', '.join(differ[:3])} are missing, too many or of another "
            "shape; save the probe again"
        )
    if digest(tensors) != facts["probe_fingerprint"]:
        raise OscineError(f"{path} is not the file that {FACTS} was written with; save the probe again")
    probe.load_stored(tensors)
    return probe
