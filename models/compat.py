"""Reach what huggingface_hub and torch do not document, here alone; a later version may call it otherwise.

huggingface_hub: tested with 2.4.0, there in 1.9.2, too. What hangs on it does without where it is gone: see each.
torch: tested with 2.15.0 and 2.14.0. Frontends also extend `Module._apply`, as timm and Lightning do.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import unwrap
from typing import TYPE_CHECKING, Any

from huggingface_hub import hf_hub_download, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from oscine.models.errors import OscineError
from oscine.models.library_versions import installed

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

FACTORY, XET = "_GLOBAL_CLIENT_FACTORY", "is_xet_available"


def http_library(error: type[Exception] = HfHubHTTPError) -> Any:
    """Return the library that huggingface_hub's errors build upon, as its client does: httpx, or httpx2 since 2.0."""
    names = [base.__module__.partition(".")[0] for base in error.__mro__]
    found = next((name for name in names if name.startswith("httpx")), None)
    if found is None:
        raise OscineError(
            f"huggingface_hub {installed('huggingface_hub')} does not fetch with httpx any more; expected what 2.4.0 does; "
            'run: pip install "huggingface_hub==2.4.0"'
        )
    return import_module(found)


httpx = http_library()


def client_factory() -> Callable[[], Any] | None:
    """Return what makes the clients of huggingface_hub: its own function, or one that somebody has set.

    None where it is called otherwise.
    """
    return set_client_factory.__globals__.get(FACTORY)


def leave_out_xet(applies: Callable[[], bool]) -> None:
    """Let huggingface_hub fetch over HTTP alone wherever `applies` says so; elsewhere as before.

    Where what decides that is called otherwise, it stays as it is.
    """
    its_names = unwrap(hf_hub_download).__globals__
    before = its_names.get(XET)
    if before is None or getattr(before, "left_out", False):
        return

    def is_xet_available() -> bool:
        return not applies() and before()

    is_xet_available.left_out = True  # type: ignore[attr-defined]
    its_names[XET] = is_xet_available


def check_repository_name(name: str) -> None:
    """Raise where no repository of the Hub can be called so, by its owner and its name."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise OscineError(f"{name!r} is not the name of a repository; expected owner/name") from None


def lerp_all_(tensors: list[Tensor], targets: list[Tensor], weight: float) -> None:
    """Move every tensor towards its target, tensor + weight * (target - tensor), all in one pass over the memory."""
    import torch

    torch._foreach_lerp_(tensors, targets, weight)


def leave_gradients_scaled(optimizer: Optimizer) -> None:
    """Keep a fused optimizer from undoing the scaling of float16 gradients, after which Lightning could not clip them."""
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]


def name_for_export(kind: type[tuple[Any, ...]], name: str) -> None:
    """Name a NamedTuple as torch.export writes it into files, which tuples without such a name cannot enter."""
    from torch.utils._pytree import _register_namedtuple

    _register_namedtuple(kind, serialized_type_name=name)


def compiler_failure() -> Any:
    """Return what torch.compile raises where its backend fails; asking for it imports the compiler."""
    from torch._dynamo.exc import BackendCompilerFailed

    return BackendCompilerFailed
