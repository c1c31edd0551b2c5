"""Know encoders by name: those of the zoo, and other people's, which are registered here. No torch is needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oscine.models import checkpoints
from oscine.models.checkpoints import ARCHITECTURES, ONE_LAYER, ONNX_ENCODER, Architecture, Published, find_published
from oscine.models.encoders.names import ENCODERS
from oscine.models.errors import OscineError
from oscine.models.hub.model_name import HUB, LOCAL, ONNX_FILE, ModelName
from oscine.models.plugins.classes import parameters_of
from oscine.models.plugins.load import FLAG, offered_modules

if TYPE_CHECKING:
    from torch import Tensor

    from oscine.models.encoders.base.encoder import Encoder

GIVE_FILE = "checkpoint_path=FILE in Python, --checkpoint FILE with oscine embed and export"
CONVERT_FILE = "oscine convert makes a folder of it, which every command takes as an encoder"


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

    rows = {name: row_of_class(encoder, dict(settings), name, paper) for name, settings in (sizes or {}).items()}
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


def row_of_class(encoder: type[Encoder], settings: dict[str, Any], name: str, paper: str = "") -> Architecture:
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


def find_architecture(name: str) -> Architecture:
    """Find the row of architecture or architecture.tag, with the settings of those weights; make one for module:Class.

    And for a file of ONNX, which says its sizes itself.
    """
    called = ModelName.parse(name)
    if called.is_onnx_file:
        return Architecture(ONNX_ENCODER, {}, "", 0, 0, 0.0, ONE_LAYER)
    known = architecture_of(called.name)
    if known not in ARCHITECTURES:
        return row_of_class(ENCODERS[known], {}, known)
    architecture, row = ARCHITECTURES[known], find_published(called.name)
    return architecture._replace(config=architecture.config | dict(row.settings)) if row else architecture


def architecture_of(name: str) -> str:
    """Return the architecture of a name of the zoo or of a plugin; module:Class as it is."""
    if ModelName.parse(name).is_class and not Path(name).is_dir():
        ENCODERS.check(name)
        return name
    architecture, _, tag = name.partition(".")
    offers = offered_modules()  # each is imported only as long as the name is not known
    while architecture not in ARCHITECTURES:
        if next(offers, None) is None:
            raise OscineError(f"no model {name!r}; {suggestion(name)}")
    tags = [row.name for row in checkpoints.PUBLISHED if row.architecture == architecture]
    if tag and name not in tags:
        raise OscineError(f"no weights {name!r}; {architecture} has {', '.join(tags) or 'none'}")
    return architecture


def suggestion(name: str) -> str:
    """Say what may be meant by a name that no model has."""
    if Path(name).is_dir():
        return f"did you mean {LOCAL}{name}?"
    near = get_close_matches(name, ARCHITECTURES, n=1)
    known = (
        f"there are {', '.join(sorted(ARCHITECTURES))}, {HUB}OWNER/REPOSITORY, {LOCAL}FOLDER, {ONNX_FILE}FILE, "
        f"and your own with {FLAG}"
    )
    return f"did you mean {near[0]!r}?" if near else known


def published_row(name: str) -> Published:
    """Return the row of weights, or an architecture's first one; raise where it has none."""
    architecture_of(name)
    row = find_published(name)
    if row is None:
        raise OscineError(
            f"{name} has no weights to fetch; give a file of weights ({GIVE_FILE}), or {LOCAL}FOLDER of a saved encoder"
        )
    return row


def repository_of(row: Published) -> str:
    """Return the repository of a row on the Hub; raise where its file has to be got from its authors."""
    if row.repository is None:
        raise OscineError(
            f"{row.name} has no weights to fetch: its authors ({row.paper}) have no safetensors on the Hub; get "
            f"{row.file} from them and give it: {GIVE_FILE}; {CONVERT_FILE}"
        )
    return row.repository
