"""Save a fitted probe as a folder, and load it with its encoder, from a folder or the Hub.

    probe.safetensors  what `Probe.stored` gives: binarised prototypes keep one bit a weight
    probe.json         all the rest
    encoder/           the encoder as `save_pretrained` writes it, where probe.json says so
    source.json        whose probe it is, or began as, where it is somebody else's

probe.json holds

    oscine_version
    probe              its class, a key of `PROBES`; of somebody's own class probe_module says where it was defined
    head               that class's settings, beside encoder and classes
    classes            their names, in the order of the logits
    single_label       true: softmax, false: sigmoid
    seconds            of a clip
    scaling            {"scale": [...], "shift": [...]}, one number or one a class; or null
    thresholds         one a class, of probabilities; or null
    median             frames that a frame-wise probe's answers are filtered by; 3 where a file of an older oscine has none
    probe_fingerprint  hash of the tensors in probe.safetensors; where there are none, of the encoder's, whose scores it is
    fitted_on, scores  facts: task, rows learnt from, parts judged on; metric to mean over the parts
    encoder            model (name of the zoo, hf-hub: or local-dir:), repository, revision (the commit that is fetched),
                       weights (their file's sha256), fingerprint (hash of the weights), architecture, frontend, config;
                       beside: whether it lies in encoder/

A folder without probe.json holds no probe: it is the last file to be written, and the first to go.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import save

from oscine import __version__
from oscine.models.embed.embed import describe_encoder
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.provenance import SOURCE, Origin, read_origin
from oscine.models.errors import OscineError
from oscine.models.files import file_hash, write_whole
from oscine.models.hub.download import Fetched, fetch, fetch_if_there
from oscine.models.hub.encoder_files import CONFIG, WEIGHTS
from oscine.models.hub.folder import check_own_encoder, load_pretrained, save_pretrained
from oscine.models.hub.model_name import HUB, ModelName
from oscine.models.hub.origin import licence_on_the_hub, origin_of
from oscine.models.hub.weights import check_state, read_safetensors
from oscine.models.json_text import fits, one_line, shown
from oscine.models.plugins.classes import parameters_of
from oscine.models.replace_outputs import check_ours, has_fields
from oscine.models.zoo import create_model, fetch_weights
from oscine.probe.deploy.file_classifier import EncoderClassifier
from oscine.probe.deploy.fitted_probe import FittedProbe, check_whole, probe_fingerprint
from oscine.probe.deploy.named_probe import find_classifier, is_classifier, probe_folder
from oscine.probe.deploy.probe_json import (
    BESIDE,
    ENCODER,
    FACTS,
    MARK,
    TENSORS,
    encoder_name,
    encoder_revision,
    read_facts,
)
from oscine.probe.heads.probe import Probe
from oscine.probe.heads.registry import PROBES
from oscine.probe.metrics.calibration import Scaling
from oscine.probe.tasks.kinds import TaskKind


def save_probe(fitted: FittedProbe, folder: str | Path, with_encoder: bool | None = None) -> Path:
    """Write a fitted probe into a folder, in place of one that is there; `load_probe` reads it.

    with_encoder: put the encoder's weights beside it; None does so only where they could not be found again by a name.
    """
    folder = Path(folder)
    check_whole(fitted, "saved")
    known = describe_encoder(fitted.encoder)
    called = ModelName.parse(known["model"] or "")
    if called.on_disk:
        known["model"] = str(replace(called, rest=str(called.path.resolve())))
    if with_encoder is None:
        with_encoder = not called.is_folder and not known["repository"]
    facts = {
        "oscine_version": __version__,
        **fitted.describe(),
        "seconds": fitted.seconds,
        "thresholds": None if fitted.thresholds is None else fitted.thresholds.clamp(0, 1).tolist(),
        "median": fitted.median,
        "fitted_on": fitted.fitted_on,
        "scores": fitted.scores,
        "encoder": known | {"beside": bool(with_encoder)},
    }
    text = json.dumps(facts, indent=2, allow_nan=False) + "\n"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in fitted.probe.stored().items()}
    origin = origin_of_probe(fitted)
    check_ours(folder / FACTS, partial(has_fields, fields=MARK))
    check_own_encoder(folder / ENCODER)
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
    """Say whose probe it is; once it is another one, it began as theirs."""
    origin = fitted.origin
    if origin is None or origin.fingerprint is None:
        return origin
    return origin._replace(trained=probe_fingerprint(fitted.probe.stored(), fitted.encoder) != origin.fingerprint)


def load_probe(folder: str | Path, encoder: Encoder | None = None) -> FittedProbe:
    """Load the probe that `save_probe` wrote, with its encoder, in eval mode and on the encoder's device.

    folder: its own or that of the run that made it; or "hf-hub:OWNER/REPOSITORY" of a published one, also with "@REVISION".
        Or the name of weights that a classifier comes with, such as "convnext_base.xcl"; or the folder, the repository, or
        the "onnx-file:", of an encoder whose file is a classifier with names.

    The encoder is the one beside it, else it is opened by its name, in the revision that it had. encoder: one that is open
    already; either must have the very weights and settings that the probe was fitted on. A tensor that is missing, too many
    or misshapen is an error.
    """
    if classifier := find_classifier(folder):
        return classifier.load(encoder)
    called = ModelName.parse(folder)
    if not called.on_hub:
        folder = probe_folder(folder)
        return load_saved(folder, encoder, read_origin(folder))
    try:
        folder, origin = fetch_probe(called)
    except OscineError as error:
        if not publishes_classifier(called, error.__cause__):
            raise
        return EncoderClassifier(called).load(encoder)
    return load_saved(folder, encoder, origin, fetched=True)


def load_saved(folder: Path, encoder: Encoder | None, origin: Origin | None, *, fetched: bool = False) -> FittedProbe:
    """Load the probe in a folder. origin: whose it is. fetched: from the Hub, so that paths in it are a stranger's."""
    facts = read_facts(folder)
    if encoder is None:
        encoder = open_encoder(folder, facts["encoder"], origin if fetched else None)
    now = describe_encoder(encoder)
    differ = [key for key in ("architecture", "config", "fingerprint", "frontend") if now[key] != facts["encoder"][key]]
    if differ:
        raise OscineError(
            f"the probe in {folder} was fitted on {facts['encoder']['model'] or 'an encoder without a name'}, this "
            f"encoder has another {differ[0]}; load the probe with that one, or fit it again"
        )
    probe = _build(folder, facts, encoder)
    numbers = {name: torch.tensor(it, dtype=torch.float64) for name, it in (facts["scaling"] or {}).items()}
    thresholds = facts["thresholds"] and torch.tensor(facts["thresholds"], dtype=torch.float64)
    return FittedProbe(
        probe.to(encoder.device).eval(),
        encoder.eval(),
        kind=TaskKind.SINGLE if facts["single_label"] else TaskKind.FRAMES if probe.framewise else TaskKind.MULTI,
        scaling=Scaling(**numbers) if numbers else None,
        thresholds=thresholds,
        origin=origin,
        **{name: facts[name] for name in ("head", "classes", "seconds", "fitted_on", "scores", "median")},
    )


def _build(folder: Path, facts: dict[str, Any], encoder: Encoder) -> Probe:
    kind = PROBES.of_file(facts["probe"], facts.get("probe_module"), folder / FACTS)
    head, classes = facts["head"], facts["classes"]
    takes = parameters_of(kind).items()
    hints = {name: one.annotation for name, one in takes if name not in ("encoder", "classes")}
    wrong = [
        f"{name}={shown(value)}" for name, value in head.items() if name not in hints or not fits(value, hints[name])
    ]
    if wrong:
        raise OscineError(f"{folder / FACTS}: {kind.__name__} cannot have {', '.join(wrong)}; save the probe again")
    path = folder / TENSORS
    try:
        # Nothing of the sizes that probe.json asks for is allocated before the file has them, too.
        with torch.device("meta"):
            expected = kind(encoder, len(classes), **head).stored()
    except (ArithmeticError, RuntimeError, ValueError, TypeError) as error:  # numbers that no tensor or layer can have
        reason = one_line(error)
        raise OscineError(
            f"{folder / FACTS}: {kind.__name__} cannot be built with {shown(head)} ({reason}); save the probe again"
        ) from None
    tensors = read_safetensors(path)
    check_state(expected, tensors, path, kind.__name__, "save the probe again")
    if probe_fingerprint(tensors, encoder) != facts["probe_fingerprint"]:
        raise OscineError(f"{path} is not the file that {FACTS} was written with; save the probe again")
    with torch.random.fork_rng(devices=[]):
        probe = kind(encoder, len(classes), **head)
    probe.load_stored(tensors)
    return probe


def fetch_probe(name: ModelName) -> tuple[Path, Origin]:
    """Fetch a probe of the Hub unless it is in the cache; return where it lies, and whose it is.

    All files are of one commit, none of them is run.
    """
    repository = name.rest
    found = fetch(repository, FACTS, name.revision)
    folder = found.path.parent
    facts, tensors = read_facts(folder), fetch(repository, TENSORS, found.revision)
    if facts["encoder"]["beside"]:
        config, weights, source = BESIDE
        fetch_if_there(repository, source, found.revision)
        for file in (config, weights):
            fetch(repository, file, found.revision)
    licence = licence_on_the_hub(repository, found.revision)
    origin = Origin(f"{HUB}{repository}", TENSORS, tensors.sha256, licence, repository, found.revision)
    return folder, origin._replace(fingerprint=facts["probe_fingerprint"])


def publishes_classifier(name: ModelName, why: BaseException | None) -> bool:
    """Return whether a repository without a probe has an encoder whose own file is a classifier with names.

    why: no probe could be fetched; where that is no answer of the Hub's, only the cache is asked.
    """
    if not isinstance(why, EntryNotFoundError):
        return False
    unasked = isinstance(why, LocalEntryNotFoundError)
    try:
        config = fetch_if_there(name.rest, CONFIG, name.revision, local_files_only=unasked)
        return config is not None and is_classifier(config)
    except OscineError:
        return False


def fetch_with_encoder(name: str) -> dict[str, Fetched]:
    """Fetch the weights of a probe and of its encoder, by their names: all that `load_probe` needs offline."""
    folder, origin = fetch_probe(ModelName.parse(name))
    repository, commit = str(origin.repository), str(origin.revision)
    probe, known = {name: fetch(repository, TENSORS, commit)}, read_facts(folder)["encoder"]
    if known["beside"]:
        return probe | {f"{name}, its encoder": fetch(repository, f"{ENCODER}/{WEIGHTS}", commit)}
    model = encoder_name(folder, known)
    try:
        return probe | {model: fetch_weights(model, encoder_revision(known))}
    except OscineError as error:
        raise OscineError(f"the probe {name} needs its encoder: {error}") from None


def holds_probe(name: str) -> bool:
    """Return whether a repository of the Hub is a probe's, as far as the Hub or the cache can be asked."""
    try:
        called = ModelName.parse(name)
        return fetch_if_there(called.rest, FACTS, called.revision) is not None
    except OscineError:
        return False


def open_encoder(folder: Path, known: dict[str, Any], probe: Origin | None) -> Encoder:
    """Open the encoder that probe.json knows. probe: whose it is, where it was fetched."""
    if known["beside"]:
        return open_beside(folder / ENCODER, known, probe)
    model = encoder_name(folder, known)
    called = ModelName.parse(model)
    if probe and called.on_disk:  # a stranger's path, which on Windows may be another machine's
        raise OscineError(
            f"the probe in {folder} names an encoder on its author's disk, {model[:80]}; ask for another copy"
        )
    settings = {} if called.on_hub or called.is_folder else known["config"]  # which those bring themselves
    try:
        return create_model(model, pretrained=True, revision=encoder_revision(known), **settings)
    except OscineError as error:
        raise OscineError(f"the probe in {folder} needs its encoder: {error}") from None


def open_beside(folder: Path, known: dict[str, Any], probe: Origin | None) -> Encoder:
    encoder, sha256 = load_pretrained(folder), file_hash(folder / WEIGHTS)
    names = {key: known[key] for key in ("model", "repository", "revision")}
    if known["model"]:  # what it is called elsewhere says more than where it lies
        encoder.provenance = names | {"sha256": known["weights"]}
    elif probe:  # where the cache lies is no name
        encoder.provenance = names | {"sha256": sha256}
    origin = origin_of(encoder)
    if probe and (origin is None or origin.trained):  # by whoever has published the probe
        weights = {"file": f"{ENCODER}/{WEIGHTS}", "sha256": sha256, "fingerprint": known["fingerprint"]}
        encoder.origin = probe._replace(**weights)
    return encoder
