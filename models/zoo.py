"""Turn names into encoders, in timm's grammar: architecture, architecture.tag, hf-hub:OWNER/NAME, local-dir:FOLDER.

Beside them onnx-file:FILE.onnx, of what another library has exported.

Names are known, listed and checked without torch; what builds or fetches an encoder imports it itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from oscine import __version__
from oscine.models import checkpoints
from oscine.models.checkpoints import (
    ARCHITECTURES,
    EMBEDDED,
    ONE_LAYER,
    ONNX_ENCODER,
    Architecture,
    Published,
    find_file,
    find_published,
)
from oscine.models.compat import check_repository_name
from oscine.models.encoders.base.devices import moved
from oscine.models.encoders.base.provenance import NOT_KNOWN, Origin
from oscine.models.encoders.names import ENCODERS
from oscine.models.errors import Misuse, OscineError
from oscine.models.files import file_hash
from oscine.models.hub.encoder_files import (
    CONFIG,
    ONNX,
    check_content,
    check_folder,
    check_weights,
    encoder_folder,
    read_content,
)
from oscine.models.hub.model_name import HUB, LOCAL, ONNX_FILE, ModelName
from oscine.models.json_text import fits
from oscine.models.plugins.classes import parameters_of
from oscine.models.plugins.load import FLAG, offered_modules

if TYPE_CHECKING:
    from torch import Tensor

    from oscine.models.encoders.base.encoder import Encoder
    from oscine.models.hub.download import Fetched


FOLDER = Path(__file__).parent / "bundled"  # FOLDER/name holds weights, config and card of what comes with oscine
GIVE_FILE = "checkpoint_path=FILE in Python, --checkpoint FILE with oscine embed and export"
CONVERT_FILE = "oscine convert makes a folder of it, which every command takes as an encoder"
OWN_SETTINGS = "brings its own settings and weights; overrides go with a name of the zoo"
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


def register_encoder(
    encoder: type[Encoder] | None = None,
    /,
    *,
    sizes: Mapping[str, Mapping[str, Any]] | None = None,
    layout: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
    paper: str = "",
) -> Any:
    """Make an encoder of your own known: by its class in files of weights, and by names to `create_model`.

    Called with the class, or as a decorator of it, with or without arguments; it returns the class. A name that is taken is
    an error. What an encoder must promise says docs/extend.md.

    sizes: name to settings of the constructor, such as {"mine_tiny": {"dim": 64}}. layout: takes the tensors of its
        authors' files and returns those of the encoder, by name; without, both are called the same. paper: its number,
        such as "arXiv 2504.12880".
    """
    if encoder is None:
        return partial(register_encoder, sizes=sizes, layout=layout, paper=paper)
    from oscine.models.hub.layouts import KEY_MAPPERS, as_it_is

    rows = {name: _row_of(encoder, dict(settings), name, paper) for name, settings in (sizes or {}).items()}
    for name in rows:
        if not re.fullmatch(r"\w+", name):
            raise OscineError(
                f"an encoder cannot be called {name!r}; expected letters, digits and _, such as mine_tiny"
            )
        if name in ARCHITECTURES and ARCHITECTURES[name].encoder != encoder.__name__:
            raise OscineError(f"{name} is a {ARCHITECTURES[name].encoder} already; give another name")
    ENCODERS.register(encoder)
    KEY_MAPPERS[encoder] = layout or as_it_is
    ARCHITECTURES.update(rows)
    return encoder


def _row_of(encoder: type[Encoder], settings: dict[str, Any], name: str, paper: str = "") -> Architecture:
    """Describe somebody's own encoder, which is built for that, without memory for its weights."""
    import torch

    from oscine.models.hub.folder import build

    with torch.device("meta"):
        made = build(encoder, settings)
    if further := sorted(made.config.keys() - parameters_of(encoder).keys()):
        raise OscineError(
            f"{encoder.__name__}.config has {', '.join(further)}, which its constructor does not take; config holds what "
            "builds the same encoder again"
        )
    weights = sum(one.numel() for one in made.parameters())
    key = name if ModelName.parse(name).is_class else encoder.__name__
    sizes = {"dim": made.dim, "depth": made.depth}
    return Architecture(key, made.config, paper, weights, made.sample_rate, made.seconds, sizes)


def list_models(
    filter: str | Sequence[str] = "*", pretrained: bool = False, exclude_filters: str | Sequence[str] = ()
) -> list[str]:
    """List names that match: architectures; with `pretrained`, weights that `create_model` can load.

    What matches says `matches`. Of several patterns one has to match, and none of `exclude_filters`.
    """
    wanted, left_out = ([one] if isinstance(one, str) else one for one in (filter, exclude_filters))
    names = [row.name for row in checkpoints.PUBLISHED if row.by_name] if pretrained else [*ARCHITECTURES]

    def found(name: str, patterns: Sequence[str]) -> bool:
        return any(matches(name, pattern) for pattern in patterns)

    return sorted(name for name in names if found(name, wanted) and not found(name, left_out))


def matches(name: str, pattern: str) -> bool:
    """Return whether a name of the zoo is meant by a shell pattern, an architecture, or a word in it.

    In any case. "hubert" is in "hubert_base"; but an architecture means itself alone: "aves_base" is not "birdaves_base". A
    pattern without a tag matches every tag: "*_base" and "bird_mae_base" match "bird_mae_base.xcl".
    """
    name, pattern = name.lower(), pattern.lower()
    architecture = name.partition(".")[0]
    if set("*?[") & set(pattern):
        return fnmatchcase(name, pattern) or fnmatchcase(architecture, pattern)
    return architecture == pattern if pattern in ARCHITECTURES else pattern in name


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
    found = _in_the_table(given, local_files_only)
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
        weights = _fetch_or_advise(called, found.revision, local_files_only)  # before the work of building
        return _note_published(_build(called, overrides, weights.path, prefix=prefix), called, weights)
    return _build(called, overrides)


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


def _note_published(encoder: Encoder, name: str, weights: Fetched) -> Encoder:
    """Note on an encoder the row whose weights it has."""
    from oscine.models.hub.onnx_data import source_hash
    from oscine.models.hub.origin import note_weights

    row, sha256 = _published(name), source_hash(weights.path, weights.sha256)
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


def fetch_weights(name: str, revision: str | None = None, local_files_only: bool = False) -> Fetched:
    """Fetch the weights of `architecture.tag`, an architecture or "hf-hub:OWNER/REPOSITORY", unless they are here."""
    from oscine.models.hub.download import fetch, fetch_if_there
    from oscine.models.hub.onnx_data import data_beside

    found = _in_the_table(ModelName.parse(name).at(revision), local_files_only)
    revision = found.revision
    if found.on_hub:
        from oscine.models.hub.folder import fetch_encoder

        return fetch_encoder(found.rest, revision, local_files_only)[0]
    row = _published(found.name)
    if row.state == EMBEDDED:
        return _embedded(row, revision)
    repository, commit = _repository(row), revision or row.revision
    pinned = row.sha256 if revision in (None, row.revision) else None
    fetched = fetch(repository, row.file, commit, sha256=pinned, local_files_only=local_files_only)
    if class_file := ARCHITECTURES[row.architecture].config.get("class_file"):  # which its repository may lack
        fetch_if_there(repository, class_file, fetched.revision, local_files_only=local_files_only)
    for data in data_beside(fetched.path):
        fetch(
            repository,
            str(PurePosixPath(row.file).with_name(data)),
            fetched.revision,
            local_files_only=local_files_only,
        )
    return fetched


def _fetch_or_advise(name: str, revision: str | None, local_files_only: bool) -> Fetched:
    """Fetch the weights of an encoder; where that fails, the error says what takes a file instead."""
    try:
        return fetch_weights(name, revision, local_files_only)
    except OscineError as error:
        if (
            error.__cause__ is None
        ):  # a file that came, and is another one; or a row without a repository, which says it
            raise
        raise OscineError(f"{error}; or give {_published(name).file}: {GIVE_FILE}; {CONVERT_FILE}") from error.__cause__


def check_model(
    name: str,
    pretrained: bool = False,
    checkpoint_path: str | Path | None = None,
    revision: str | None = None,
    *,
    prefix: str = "",
) -> None:
    """Raise what arguments and files tell to be wrong with a call of `create_model`, without torch or a network."""
    called = ModelName.parse(name).at(revision)
    if called.revision and (called.on_disk or not (pretrained or called.on_hub)):
        raise OscineError(
            f"{called.name} has no revision {called.revision!r}: revisions are the Hub's, see {HUB} and pretrained=True"
        )
    if checkpoint_path and not called.without_prefix:
        raise OscineError(f"{name} {OWN_SETTINGS}")
    if called.is_folder:
        check_folder(encoder_folder(called.path))
    elif called.is_onnx_file:
        check_onnx_file(called.path)
    elif pretrained or called.on_hub:
        if checkpoint_path:
            _known(called.name)
            raise OscineError(f"{name} cannot load its published weights and {checkpoint_path} at once; choose one")
        check_fetchable(name, revision)
    else:
        row = ARCHITECTURES.get(_known(called.name))
        if checkpoint_path:
            check_weights(checkpoint_path)
        elif row and row.of_a_file:
            raise OscineError(no_random_weights(name))
    if prefix:
        check_prefix(prefix, name, pretrained, checkpoint_path)


def check_prefix(prefix: str, name: str, pretrained: bool, checkpoint_path: str | Path | None) -> None:
    """Raise where a prefix has no tensors to choose from; the other arguments have been checked."""
    called = ModelName.parse(name)
    if not called.without_prefix:
        raise OscineError(
            f"prefix={prefix!r} goes with a name of the zoo and its file of tensors, not with {name}; leave it out"
        )
    file = checkpoint_path or (_published(called.name).file if pretrained else None)
    if file is None:
        raise OscineError(f"prefix={prefix!r} chooses tensors of a file of weights, and none was given; leave it out")
    if Path(file).suffix == ONNX:
        raise OscineError(
            f"prefix={prefix!r} chooses tensors by their names; {file} is an ONNX file, taken whole; leave it out"
        )


def no_random_weights(name: str) -> str:
    """Say of what exists as a file alone that it cannot be untrained, and what would do."""
    row = find_published(name)
    fetched = (
        "pretrained=True fetches it (commands do, without --random-weights), or " if row and row.repository else ""
    )
    return f"{name} exists as an ONNX file alone, so it cannot have random weights; {fetched}give the file: {GIVE_FILE}"


def check_pinned(name: str, path: Path) -> str | None:
    """Raise where a file is given for weights whose hash is known, by their whole name, and is another one.

    Return that hash; None where none is known.
    """
    row = next((row for row in checkpoints.PUBLISHED if row.name == name and row.sha256), None)
    if row and (found := file_hash(path)) != row.sha256:
        raise OscineError(
            f"{path} has sha256 {found}, {name} has {row.sha256}; take the official file, or name the architecture alone, "
            f"{row.architecture}"
        )
    return row and row.sha256


def check_onnx_file(path: Path) -> None:
    """Raise what is wrong with the name of an ONNX file."""
    if path.suffix != ONNX:
        raise OscineError(f"{ONNX_FILE}{path}: expected the name of a file that ends in {ONNX}")
    check_weights(path)


class Outline(NamedTuple):
    """What is known of an encoder before it is opened; None where it is not.

    depth      how many layers it has
    spatial    whether its patches are a map, as `Encoder` says it
    trainable  whether gradients reach its weights, as `Encoder` says it
    """

    depth: int | None = None
    spatial: bool | None = None
    trainable: bool | None = None


def outline_of(name: str) -> Outline:
    """Read from an encoder's row or config.json what probes have to know, without torch or a network."""
    called = ModelName.parse(name)
    if called.on_hub or called.is_class:
        return Outline()
    if called.is_folder:
        content = read_content(encoder_folder(called.path) / CONFIG)
        check_content(content)
        return _outline(content.get("architecture"), content["config"])
    row = find_architecture(name)
    return _outline(row.encoder, {**row.sizes, **row.config})


def _outline(encoder: object, settings: Mapping[str, Any]) -> Outline:
    """Read the outline of an encoder from its settings, of which a stranger's may lack any."""
    if encoder == ONNX_ENCODER:
        return Outline(ONE_LAYER["depth"], settings.get("patch_map") is not None, trainable=False)
    depths = settings.get("depths")  # of ConvNeXt's stages, whose last has the layers
    depth = settings.get("depth", depths[-1] if fits(depths, list[int]) and depths else None)
    ours = True if encoder in ENCODERS.homes else None
    return Outline(depth if fits(depth, int) else None, spatial=ours, trainable=ours)


def check_fetchable(name: str, revision: str | None = None) -> None:
    """Raise what is known without a network to be wrong with the name of weights."""
    called = ModelName.parse(name).at(revision)
    if called.on_hub:
        check_repository_name(called.rest)
        return
    row = _published(called.name)
    if row.state != EMBEDDED:
        _repository(row)


def _in_the_table(name: ModelName, local_files_only: bool) -> ModelName:
    """Name a repository of the table by its row, unless it has a config.json of oscine's itself."""
    row = next((row for row in checkpoints.PUBLISHED if name.on_hub and row.repository == name.rest), None)
    if row is None:
        return name

    from oscine.models.hub.folder import published_by_oscine

    if published_by_oscine(name.rest, name.revision, local_files_only):
        return name
    return ModelName("", row.name, name.revision)


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


def _published(name: str) -> Published:
    _known(name)
    row = find_published(name)
    if row is None:
        raise OscineError(
            f"{name} has no weights to fetch; give a file of weights ({GIVE_FILE}), or {LOCAL}FOLDER of a saved encoder"
        )
    return row


def _embedded(row: Published, revision: str | None) -> Fetched:
    """Return the weights in this package, whose revision is oscine's."""
    from oscine.models.hub.download import Fetched

    if revision:
        raise OscineError(f"{row.name} has no revision {revision!r}: it is part of oscine {__version__}; leave it out")
    path = FOLDER / row.name / row.file
    found = file_hash(path) if path.is_file() else "none"
    if found != row.sha256:
        raise OscineError(
            f"{path} has sha256 {found}, expected {row.sha256}: it was changed or lost; install oscine again"
        )
    return Fetched(path, f"oscine {__version__}", found)


def _repository(row: Published) -> str:
    if row.repository is None:
        raise OscineError(
            f"{row.name} has no weights to fetch: its authors ({row.paper}) have no safetensors on the Hub; get "
            f"{row.file} from them and give it: {GIVE_FILE}; {CONVERT_FILE}"
        )
    return row.repository


def find_architecture(name: str) -> Architecture:
    """Find the row of architecture or architecture.tag, with the settings of those weights; make one for module:Class.

    And for a file of ONNX, which says its sizes itself.
    """
    called = ModelName.parse(name)
    if called.is_onnx_file:
        return Architecture(ONNX_ENCODER, {}, "", 0, 0, 0.0, ONE_LAYER)
    known = _known(called.name)
    if known not in ARCHITECTURES:
        return _row_of(ENCODERS[known], {}, known)
    architecture, row = ARCHITECTURES[known], find_published(called.name)
    return architecture._replace(config=architecture.config | dict(row.settings)) if row else architecture


def _known(name: str) -> str:
    """Return the architecture of a name of the zoo or of a plugin; module:Class as it is."""
    if ModelName.parse(name).is_class and not Path(name).is_dir():
        ENCODERS.check(name)
        return name
    architecture, _, tag = name.partition(".")
    offers = offered_modules()  # each is imported only as long as the name is not known
    while architecture not in ARCHITECTURES:
        if next(offers, None) is None:
            raise OscineError(f"no model {name!r}; {_suggestion(name)}")
    tags = [row.name for row in checkpoints.PUBLISHED if row.architecture == architecture]
    if tag and name not in tags:
        raise OscineError(f"no weights {name!r}; {architecture} has {', '.join(tags) or 'none'}")
    return architecture


def _suggestion(name: str) -> str:
    if Path(name).is_dir():
        return f"did you mean {LOCAL}{name}?"
    near = get_close_matches(name, ARCHITECTURES, n=1)
    known = (
        f"there are {', '.join(sorted(ARCHITECTURES))}, {HUB}OWNER/REPOSITORY, {LOCAL}FOLDER, {ONNX_FILE}FILE, "
        f"and your own with {FLAG}"
    )
    return f"did you mean {near[0]!r}?" if near else known


def check_encoder(model: str, checkpoint: Path | None, random_weights: bool) -> None:
    """Raise what `open_encoder` would raise, as far as arguments and files tell it, without torch."""
    if random_weights and (checkpoint or not ModelName.parse(model).without_prefix):
        raise Misuse(
            f"{checkpoint or model} brings its own weights; leave random weights out, or name a model of the zoo alone"
        )
    check_model(model, pretrained=not (checkpoint or random_weights), checkpoint_path=checkpoint)


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
