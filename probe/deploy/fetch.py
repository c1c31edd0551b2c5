"""A published probe in the cache, and the encoder that a saved or published one needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.provenance import Origin
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub.download import Fetched, fetch, fetch_if_there
from oscine.models.hub.encoder_files import WEIGHTS
from oscine.models.hub.folder import load_pretrained
from oscine.models.hub.origin import licence_on_the_hub, origin_of
from oscine.models.zoo import HUB, LOCAL, create_model, fetch_weights
from oscine.probe.deploy.probe_json import BESIDE, ENCODER, FACTS, TENSORS, named, read_facts, revision_of


def fetch_probe(name: str) -> tuple[Path, Origin]:
    """Where a probe of the Hub lies in the cache, fetched unless it is there, and whose it is.

    name: "hf-hub:OWNER/REPOSITORY", also with "@REVISION". All files are of one commit, none of them is run.
    """
    repository, revision = parts_of(name)
    found = fetch(repository, FACTS, revision)
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


def fetch_with_encoder(name: str) -> dict[str, Fetched]:
    """The weights of a probe of the Hub and those of its encoder, by their names: all that `load_probe` needs offline."""
    folder, origin = fetch_probe(name)
    repository, commit = str(origin.repository), str(origin.revision)
    probe, known = {name: fetch(repository, TENSORS, commit)}, read_facts(folder)["encoder"]
    if known["beside"]:
        return probe | {f"{name}, its encoder": fetch(repository, f"{ENCODER}/{WEIGHTS}", commit)}
    model = named(folder, known)
    try:
        return probe | {model: fetch_weights(model, revision_of(known))}
    except OscineError as error:
        raise OscineError(f"the probe {name} needs its encoder: {error}") from None


def holds_probe(name: str) -> bool:
    """Whether a repository of the Hub is a probe's, as far as the Hub or the cache can be asked."""
    try:
        return fetch_if_there(parts_of(name)[0], FACTS, parts_of(name)[1]) is not None
    except OscineError:
        return False


def parts_of(name: str) -> tuple[str, str | None]:
    """Repository and revision of an hf-hub name."""
    repository, _, revision = name.removeprefix(HUB).partition("@")
    return repository, revision or None


def open_encoder(folder: Path, known: dict[str, Any], probe: Origin | None) -> Encoder:
    """The encoder that probe.json knows. probe: whose it is, where it was fetched."""
    if known["beside"]:
        return open_beside(folder / ENCODER, known, probe)
    model = named(folder, known)
    if probe and model.startswith(LOCAL):  # a stranger's path, which on Windows may be another machine's
        raise OscineError(
            f"the probe in {folder} names an encoder on its author's disk, {model[:80]}; ask for another copy"
        )
    settings = {} if model.startswith((HUB, LOCAL)) else known["config"]  # which those bring themselves
    try:
        return create_model(model, pretrained=True, revision=revision_of(known), **settings)
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
