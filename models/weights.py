"""Weights into an encoder: every layout that the authors wrap the published names in, and strict loading of them all."""

from __future__ import annotations

import pickle
from argparse import Namespace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from oscine.models.errors import OscineError

# Where a training checkpoint keeps its encoder, most specific first; "" is the bare published layout.
PREFIXES = ("student.encoder.", "encoder.", "model.", "")
DISCARDED = ("decoder.", "head.")  # what may stand beside bare names and is not part of an encoder


def load_weights(encoder: nn.Module, path: str | Path) -> None:
    """Load a published file, or a training checkpoint of its authors, strictly: every name and shape must match.

    Read are .safetensors; and torch files (unpickled with weights_only) that hold a bare state dict, one under `state_dict`
    (Lightning) or one under `encoder` (BAT's trainer; the student, which is what its authors published).
    """
    path = Path(path)
    state = read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    state = unwrap(state)
    if "norm.weight" in state and "fc_norm.weight" not in state:
        # A masked autoencoder's own checkpoint has no fc_norm: it enters as the identity with which training starts.
        state = state | {"fc_norm.weight": torch.ones_like(state["norm.weight"])}
        state["fc_norm.bias"] = torch.zeros_like(state["norm.weight"])
    load_strictly(encoder, state, path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise OscineError(f"no weights at {path}") from None
    except SafetensorError as error:
        raise OscineError(f"{path} is no intact safetensors file ({error}); fetch or save it again") from None


def read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals([Namespace]):  # BAT's trainer stores its arguments beside the weights
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise OscineError(f"no weights at {path}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0] or "it ends too early"
        raise OscineError(
            f"{path} is no torch file with weights alone ({reason}); save its state dict by itself"
        ) from None
    for wrapper in ("state_dict", "encoder"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise OscineError(
            f"{path} holds no state dict, nor one under 'state_dict' or 'encoder'; save the state dict by itself"
        )
    return content


def unwrap(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors under their published names."""
    prefix = next(prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in state) or not prefix)
    names = (name for name in state if name.startswith(prefix) and (prefix or not name.startswith(DISCARDED)))
    return {name.removeprefix(prefix): state[name] for name in names}


def load_strictly(module: nn.Module, state: dict[str, Tensor], source: object) -> None:
    """`load_state_dict` that says in one line what does not fit, and loads nothing then."""
    expected = module.state_dict()
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys())
    reshaped = [
        f"{name} {tuple(state[name].shape)} for {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & state.keys())
        if state[name].shape != expected[name].shape
    ]
    faults = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in (("missing", missing), ("unexpected", extra), ("of another shape", reshaped))
        if names
    ]
    if faults:
        fault = f"tensors {'; '.join(faults)}"
        raise OscineError(f"{source} does not fit {type(module).__name__}: {fault}; choose the model it was saved from")
    module.load_state_dict(state, strict=True)
