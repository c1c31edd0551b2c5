"""Load weights into an encoder, strictly, from every kind of file that authors publish."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.hub.checksummed import UNPICKLED, quiet, why_not_loaded
from oscine.models.hub.encoder_files import no_weights
from oscine.models.hub.layouts import KEY_MAPPERS, State, as_it_is

# Where a torch file keeps its weights: Lightning; BAT's trainer (the student, as its authors publish); fairseq and others.
WRAPPERS = ("state_dict", "encoder", "model")
OTHER_MODEL = "choose the model it was saved from"
FRACTIONS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}

logger = logging.getLogger(__name__)


def load_weights(encoder: Encoder, path: str | Path, prefix: str = "") -> None:
    """Load a published file, or a training checkpoint of its authors, strictly: every name and shape must match.

    Read are .safetensors; and torch files (unpickled with weights_only) that hold a bare state dict, or one under
    `state_dict`, `encoder` or `model`. What stands beside an encoder, such as a classifier, is left out and logged.

    prefix: with which the names of the encoder's tensors begin, where the file holds others that are called alike.
    """
    path = Path(path)
    read = read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    state, expected = under_prefix(read, prefix, path), encoder.state_dict()
    if state.keys() != expected.keys():
        state = KEY_MAPPERS.get(type(encoder), as_it_is)(state)
    kept = {
        tensor.data_ptr() for tensor in state.values()
    }  # whatever they are called now, and if only the first rows are
    if left_out := sorted(name for name, tensor in read.items() if tensor.data_ptr() not in kept):
        logger.info("%s has %s, which are left out", path, some(left_out, "tensors beside the encoder"))
    remedy = (
        f"the file's names begin with {beginnings(read)}, those of {type(encoder).__name__} with {beginnings(expected)}; "
        f"{OTHER_MODEL}, or give the prefix of its tensors: oscine convert NAME OUT --checkpoint FILE --prefix PREFIX"
    )
    load_strictly(encoder, state, path, OTHER_MODEL if state.keys() == expected.keys() else remedy)


def under_prefix(state: State, prefix: str, path: Path) -> State:
    """Take the tensors whose names begin with a prefix, without it."""
    chosen = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not chosen:
        raise OscineError(f"no tensor of {path} begins with {prefix!r}; they begin with {beginnings(state)}")
    return chosen


def beginnings(names: Iterable[str], most: int = 4) -> str:
    """Say with which words names begin, up to the first dot, and how many do; those of most names first."""
    counts = Counter("".join(name.partition(".")[:2]) for name in names)
    listed = [f"{word} ({count})" if count > 1 else word for word, count in counts.most_common(most)]
    return ", ".join(listed + ["..."] * (len(counts) > most))


def read_safetensors(path: Path, names: Collection[str] | None = None) -> State:
    """Read the tensors of a file, all or those of some names."""
    with intact(path):
        if names is None:
            return load_file(path)
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if name in names}  # noqa: SIM118 - no dict


def safetensors_names(path: Path) -> list[str]:
    """Read how the tensors of a file are called."""
    with intact(path), safe_open(path, "pt") as file:
        return [*file.keys()]


@contextmanager
def intact(path: Path) -> Iterator[None]:
    """Raise in one line what is wrong with a safetensors file that is read inside."""
    try:
        yield
    except FileNotFoundError:
        raise no_weights(path) from None
    except SafetensorError as error:
        raise OscineError(f"{path} is no intact safetensors file ({error}); fetch or save it again") from None
    except OSError as error:
        raise OscineError(f"{path} cannot be read ({error.strerror or error}); expected a safetensors file") from None


class StandIn:
    """What any other object in a file becomes: it takes what the file gives it and does nothing."""

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class StandInDict:
    """The same for a kind of dict, whose entries torch puts into plain ones only."""

    def __new__(cls, *arguments: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


def read_torch(path: Path) -> State:
    """Read the state dict in a torch file. Nothing that it names is imported or called, nothing but tensors is kept."""
    try:
        zipped = is_zipfile(path)  # as torch writes since 1.6: optimizer states stay on the disk
        names = get_unsafe_globals_in_checkpoint(path) if zipped else []
        with (
            quiet(),
            safe_globals([(StandInDict if name.lower().endswith("dict") else StandIn, name) for name in names]),
        ):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError:
        raise no_weights(path) from None
    except UNPICKLED as error:
        raise OscineError(
            f"{path} is no torch file with weights alone ({why_not_loaded(error)}); save its state dict by itself"
        ) from None
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    # Beside the weights stand numbers of the run, and in fairseq's files a dict with the teacher.
    state = (
        {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not state:
        places = " or ".join(repr(wrapper) for wrapper in WRAPPERS)
        raise OscineError(f"{path} holds no state dict, nor one under {places}; save the state dict by itself")
    return state


def load_strictly(module: nn.Module, state: State, source: object, remedy: str = OTHER_MODEL) -> None:
    """`load_state_dict` that says in one line what does not fit, and loads nothing then."""
    check_strictly(module, state, source, remedy)
    module.load_state_dict(state, strict=True)


def check_strictly(module: nn.Module, state: State, source: object, remedy: str = OTHER_MODEL) -> None:
    """Raise where tensors do not fit a module, which may be on no device; log what should be known of them."""
    for note in check_state(module.state_dict(), state, source, type(module).__name__, remedy):
        logger.warning("%s", note)


def check_state(expected: State, state: State, source: object, name: str, remedy: str = OTHER_MODEL) -> list[str]:
    """Raise where tensors are not those that are expected, or no numbers; return what should be known of them.

    Fractions with more or fewer digits become float32: that is worth a line. Whole numbers for fractions are refused, since
    most would be 0, and so is what is not finite. name, remedy: for the error, who expects them and what would do.
    """
    both = sorted(expected.keys() & state.keys())
    faults = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "of another shape": [
            f"{one} {tuple(state[one].shape)} for {tuple(expected[one].shape)}"
            for one in both
            if state[one].shape != expected[one].shape
        ],
        "of another type": [
            f"{one} {kind(state[one])} for {kind(expected[one])}"
            for one in both
            if not (state[one].dtype == expected[one].dtype or {state[one].dtype, expected[one].dtype} <= FRACTIONS)
        ],
    }
    if any(faults.values()):
        fault = "; ".join(some(names, what) for what, names in faults.items() if names)
        raise OscineError(f"{source} does not fit {name}: tensors {fault}; {remedy}")
    if broken := [one for one in both if not state[one].isfinite().all()]:
        raise OscineError(
            f"{source} has tensors that are no numbers: {some(broken, 'with NaN or infinity')}; fetch it again, or take an "
            "earlier state of the run that saved it"
        )
    cast = [f"{one} {kind(state[one])}" for one in both if state[one].dtype != expected[one].dtype]
    note = f"{source} has {some(cast, 'tensors')}, which are read as float32: results may differ from the original's"
    return [note] if cast else []


def some(names: list[str], what: str) -> str:
    """Say how many there are, what they are, and the first three names."""
    return f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def kind(tensor: Tensor) -> str:
    """Return the name of a tensor's type, as float32."""
    return str(tensor.dtype).removeprefix("torch.")
