"""A fitted probe as a folder, and back with its encoder by one call.

    probe.safetensors  what `Probe.stored` gives: binarised prototypes keep one bit a weight
    probe.json         all the rest
    encoder/           the encoder as `save_pretrained` writes it, where probe.json says so
    source.json        whose probe it is, or began as, where it is somebody else's

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
from oscine.models.fetch import fetch, fetch_if_there
from oscine.models.files import write_whole
from oscine.models.hub import CONFIG, WEIGHTS, fits, load_pretrained, release, save_pretrained
from oscine.models.origin import licence_on_the_hub, origin_of
from oscine.models.source import SOURCE, Origin, read_origin
from oscine.models.vectors import digest
from oscine.models.weights import file_hash, read_safetensors
from oscine.models.zoo import HUB, LOCAL, create_model
from oscine.probe.calibration import Scaling
from oscine.probe.fitted import FittedProbe
from oscine.probe.probe import Probe
from oscine.probe.zoo import PROBES

TENSORS, FACTS, ENCODER = "probe.safetensors", "probe.json", "encoder"
BESIDE = [f"{ENCODER}/{file}" for file in (CONFIG, WEIGHTS, SOURCE)]  # the last only where the weights are somebody's
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
    origin = origin_of_probe(fitted)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)
    (folder / SOURCE).unlink(missing_ok=True)
    if with_encoder:
        save_pretrained(fitted.encoder, folder / ENCODER)
    if origin:
        write_whole(folder / SOURCE, origin.as_json())
    write_whole(folder / TENSORS, save(tensors, metadata={"format": "pt"}))
    write_whole(folder / FACTS, text.encode())
    return folder


def origin_of_probe(fitted: FittedProbe) -> Origin | None:
    """Whose probe it is; once it is another one, it began as theirs."""
    origin = fitted.origin
    return origin and origin._replace(trained=digest(fitted.probe.stored()) != origin.fingerprint)


def load_probe(folder: str | Path, encoder: Encoder | None = None) -> FittedProbe:
    """The probe that `save_probe` wrote, with its encoder, in eval mode and on the encoder's device.

    folder: or "hf-hub:OWNER/REPOSITORY" of a published one, also with "@REVISION".

    The encoder is the one beside it, else it is opened by its name, in the revision that it had. encoder: one that is open
    already; either must have the very weights and settings that the probe was fitted on. A tensor that is missing, too many
    or misshapen is an error.
    """
    fetched = str(folder).startswith(HUB)
    folder, origin = fetch_probe(str(folder)) if fetched else (Path(folder), read_origin(Path(folder)))
    facts = read_facts(folder)
    if encoder is None:
        encoder = _open_encoder(folder, facts["encoder"], origin if fetched else None)
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
        origin=origin,
        **{name: facts[name] for name in ("head", "classes", "seconds", "single_label", "fitted_on", "scores")},
    )


def fetch_probe(name: str) -> tuple[Path, Origin]:
    """Where a probe of the Hub lies in the cache, fetched unless it is there, and whose it is.

    All files are of one commit, none of them is run.
    """
    repository, _, revision = name.removeprefix(HUB).partition("@")
    found = fetch(repository, FACTS, revision or None)
    folder = found.path.parent
    facts, tensors = read_facts(folder), fetch(repository, TENSORS, found.revision)
    if facts["encoder"].get("beside"):
        config, weights, source = BESIDE
        fetch_if_there(repository, source, found.revision)
        for file in (config, weights):
            fetch(repository, file, found.revision)
    licence = licence_on_the_hub(repository, found.revision)
    origin = Origin(f"{HUB}{repository}", TENSORS, tensors.sha256, licence, repository, found.revision)
    return folder, origin._replace(fingerprint=facts["probe_fingerprint"])


def find_probe(path: Path) -> Path | None:
    """The folder of the probe that a folder is or holds, if there is one."""
    path = Path(str(path).removeprefix(LOCAL))
    return next((folder for folder in (path, path / "probe") if (folder / FACTS).is_file()), None)


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


def _open_encoder(folder: Path, known: dict[str, Any], probe: Origin | None) -> Encoder:
    """The encoder that probe.json knows. probe: whose it is, where it was fetched."""
    if known.get("beside"):
        return _open_beside(folder / ENCODER, known, probe)
    model = known.get("model")
    if not model:
        raise OscineError(f"{folder} does not say which encoder its probe was fitted on; load it with that one")
    settings = {} if model.startswith((HUB, LOCAL)) else known["config"]  # which those bring themselves
    revision = known.get("revision") if known.get("repository") else None  # what comes with oscine is known by its hash
    try:
        return create_model(model, pretrained=True, revision=revision, **settings)
    except OscineError as error:
        raise OscineError(f"the probe in {folder} needs its encoder: {error}") from None


def _open_beside(folder: Path, known: dict[str, Any], probe: Origin | None) -> Encoder:
    encoder, sha256 = load_pretrained(folder), file_hash(folder / WEIGHTS)
    names = {key: known[key] for key in ("model", "repository", "revision")}
    if known.get("model"):  # what it is called elsewhere says more than where it lies
        encoder.provenance = names | {"sha256": known["weights"]}
    elif probe:  # where the cache lies is no name
        encoder.provenance = names | {"sha256": sha256}
    origin = origin_of(encoder)
    if probe and (origin is None or origin.trained):  # by whoever has published the probe
        weights = {"file": f"{ENCODER}/{WEIGHTS}", "sha256": sha256, "fingerprint": known["fingerprint"]}
        encoder.origin = probe._replace(**weights)
    return encoder


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
