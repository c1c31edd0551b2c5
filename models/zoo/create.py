"""Turn names into encoders, in timm's grammar: architecture, architecture.tag, hf-hub:OWNER/NAME, local-dir:FOLDER.

Beside them onnx-file:FILE.onnx, of what another library has exported. What builds an encoder imports torch itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oscine.models import checkpoints
from oscine.models.checkpoints import find_file
from oscine.models.encoders.base.devices import moved
from oscine.models.encoders.base.provenance import NOT_KNOWN, Origin
from oscine.models.encoders.names import ENCODERS
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub.encoder_files import encoder_folder
from oscine.models.hub.model_name import ModelName
from oscine.models.zoo.checks import OWN_SETTINGS, check_encoder, check_model, check_pinned
from oscine.models.zoo.fetch import fetch_or_advise, row_or_repository
from oscine.models.zoo.names import find_architecture, published_row

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder
    from oscine.models.hub.download import Fetched

# Settings that people know from timm's `create_model`, and what does the same here.
LAYERS = (
    "encoder(waveform, layers=[0, 5]) returns the features of these layers; encoders of spectrograms have timm's "
    "forward_intermediates, too"
)
INSTEAD_OF_TIMM = {
    "num_classes": "encoders have no classifier; the probes of oscine.probe have, such as LinearProbe(encoder, classes)",
    "in_chans": "encoders take mono waveforms; load_audio mixes the channels of a recording, or reads one (channel=)",
    "global_pool": "one call returns every pool: features.pooled, features.cls, features.patches",
    "features_only": LAYERS,
    "out_indices": LAYERS,
}


def create_model(
    name: str,
    pretrained: bool = False,
    checkpoint_path: str | Path | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    prefix: str = "",
    **overrides: Any,
) -> Encoder:
    """Return an encoder by name, in eval mode.

    name: an architecture or architecture.tag, with random weights unless `pretrained`; a bare name means its first tag. Or
        "hf-hub:OWNER/REPOSITORY", or "local-dir:FOLDER" as written by `save_pretrained`. What is fetched may have
        "@REVISION" behind it. Or what `register_encoder` made known, and "module:Class" of a plugin. Or
        "onnx-file:FILE.onnx", with `sample_rate` and `seconds` where the file does not say them, and the other settings of
        `ONNXEncoder`.
    checkpoint_path: a file to load strictly into a named architecture: published weights or the authors' own checkpoints.
    revision: a branch, tag or commit on the Hub. local_files_only: look only into the cache.
    prefix: with which the names of the encoder's tensors begin in a file that holds more, such as "teacher.".
    overrides: settings of the architecture, such as `seconds=5.0` or `drop_path=0.1`; what oscine saved brings its own.
    """
    overrides = without_timm_settings(overrides)
    check_model(name, pretrained, checkpoint_path, revision, prefix=prefix)
    given = ModelName.parse(name).at(revision)
    if overrides and given.is_folder:
        raise OscineError(f"{name} {OWN_SETTINGS}")
    found = row_or_repository(given, local_files_only)
    if found.is_folder:
        return _load_folder(found.path)
    if found.on_hub:
        if overrides:
            raise OscineError(f"{name} {OWN_SETTINGS}")
        from oscine.models.hub.folder import load_from_hub

        return load_from_hub(found.rest, found.revision, local_files_only)
    called = found.name
    if found.is_onnx_file or checkpoint_path:
        path = Path(checkpoint_path or found.path)
        pinned = check_pinned(called, path)
        return _note_file(_build(called, overrides, path, prefix=prefix), called, path, pinned or file_hash(path))
    if pretrained or given.on_hub:
        weights = fetch_or_advise(called, found.revision, local_files_only)  # before the work of building
        return _note_published(_build(called, overrides, weights.path, prefix=prefix), called, weights)
    return _build(called, overrides)


def open_encoder(
    model: str, checkpoint: Path | None, random_weights: bool, device: str = "cpu", seed: int = 0
) -> Encoder:
    """Return an encoder with published, saved or given weights; untrained only where that is asked for, and noted."""
    check_encoder(model, checkpoint, random_weights)
    if not random_weights:
        return moved(create_model(model, pretrained=checkpoint is None, checkpoint_path=checkpoint), device)

    import torch

    torch.manual_seed(seed)
    encoder = create_model(model)
    encoder.provenance = {"model": model, "sha256": "random"}
    return moved(encoder, device)


def settings_of(name: str) -> dict[str, Any]:
    """Return the settings of architecture or architecture.tag, its class's defaults included."""
    import torch

    with torch.device("meta"):
        return _build(name, {}).config


def _build(name: str, overrides: Mapping[str, Any], path: Path | None = None, *, prefix: str = "") -> Encoder:
    """Build an encoder of the zoo or of an ONNX file, with the weights of a file or untrained."""
    from oscine.models.hub.folder import build, build_from_file
    from oscine.models.hub.onnx_data import check_class_list

    architecture = find_architecture(name)
    kind, settings = ENCODERS[architecture.encoder], {**architecture.config, **overrides}
    given, usual = (one.get("class_file") for one in (overrides, architecture.config))
    if path and given and given != usual:  # a row's own one may be absent, as from its repository
        check_class_list(path, given)
    encoder = build_from_file(kind, settings, path, prefix=prefix) if path else build(kind, settings)
    return encoder.eval()


def _load_folder(folder: Path) -> Encoder:
    """Load what was saved; weights of the zoo are known by their hash, also where source.json was lost."""
    from oscine.models.encoders.base.fingerprint import fingerprint
    from oscine.models.hub.folder import load_pretrained

    encoder = load_pretrained(encoder_folder(folder))
    row = find_file(str((encoder.provenance or {}).get("sha256")))
    if row and not encoder.origin:
        own = fingerprint(encoder)
        encoder.origin = Origin(row.name, row.file, str(row.sha256), row.licence, fingerprint=own)
    return encoder


def _note_published(encoder: Encoder, name: str, weights: Fetched) -> Encoder:
    """Note on an encoder the row whose weights it has."""
    from oscine.models.hub.onnx_data import source_hash
    from oscine.models.hub.origin import note_weights

    row, sha256 = published_row(name), source_hash(weights.path, weights.sha256)
    note_weights(encoder, Origin(row.name, row.file, sha256, row.licence, row.repository, weights.revision))
    return encoder


def _note_file(encoder: Encoder, name: str, path: Path, sha256: str) -> Encoder:
    """Note on an encoder the file that it was given: a row's, which its hash or the name tells, or anybody's."""
    from oscine.models.hub.onnx_data import source_hash
    from oscine.models.hub.origin import note_weights

    unpinned = next((row for row in checkpoints.PUBLISHED if row.name == name and not row.sha256), None)
    owner = find_file(sha256) or unpinned
    model, licence = (owner.name, owner.licence) if owner else (path.name, NOT_KNOWN)
    note_weights(encoder, Origin(model, path.name, source_hash(path, sha256), licence), name)
    return encoder


def without_timm_settings(overrides: dict[str, Any]) -> dict[str, Any]:
    """Drop `num_classes=0`, which every encoder fulfils; for timm's other settings raise an error that says what to call."""
    rest = {name: value for name, value in overrides.items() if (name, value) != ("num_classes", 0)}
    if known := next((name for name in rest if name in INSTEAD_OF_TIMM), None):
        raise OscineError(
            f"{known}={rest[known]!r} is a setting of timm's; {INSTEAD_OF_TIMM[known]}; leave {known} out"
        )
    return rest
