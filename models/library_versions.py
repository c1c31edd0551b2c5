"""Load torch, torchaudio, torchvision and timm, or say in one line which does not fit the others and what mends it."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from oscine.models.errors import OscineError

# In this order the first that fails is the one to blame: torchvision, which only timm uses, is imported before timm.
MODULES = ("torch", "torchaudio.functional", "torchvision.ops", "timm.layers", "timm.scheduler")
TRIPLE = ("torch", "torchaudio", "torchvision")  # each of the others is built for some versions of torch
SEEN = "torch 2.15.0, torchaudio 2.11.1, torchvision 0.29.2"  # with which all tests pass


def load_libraries() -> None:
    """Import timm and torchaudio; an OscineError names the library that fails, the versions and the remedy."""
    for module in MODULES:
        try:
            import_module(module)
        except Exception as error:  # of a symbol, an attribute, an operator: a pair that does not fit dies of anything
            raise OscineError(describe_failure(module.partition(".")[0], error)) from error


def describe_failure(library: str, error: Exception) -> str:
    """State in one line the installed versions, those that fit, and the command that installs them."""
    others = " and ".join(f"{name} {installed(name) or '(missing)'}" for name in TRIPLE if name != library)
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    fit = " with ".join(f"{name}{versions}" for name, versions in required(library).items() if versions)
    asks = "" if library == "torchaudio" else required_by_torchvision()
    return (
        f"{library} {installed(library) or '(missing)'} does not load with {others} ({reason}); expected {fit}"
        f"{f' and torch{asks} for this torchvision' if asks else ''}, such as {SEEN}; run: {remedy(library)}"
    )


def installed(library: str) -> str:
    """Return the version of an installed library; "" where there is none."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def required(library: str) -> dict[str, str]:
    """Return which versions of torch, torchaudio, torchvision and the library oscine takes; "" is any."""
    stated = {need.name: str(need.specifier) for need in map(Requirement, requires("oscine") or [])}
    return {name: stated.get(name, "") for name in (*TRIPLE, library)}


def required_by_torchvision() -> str:
    """Return which versions of torch the installed torchvision takes; "" where it does not say."""
    try:
        stated = map(Requirement, requires("torchvision") or [])
    except PackageNotFoundError:
        return ""
    return "".join(str(need.specifier) for need in stated if need.name == "torch")


def remedy(library: str) -> str:
    """Return the command that installs versions which fit; anew where the installed ones should fit already."""
    own = required(library)
    stated = [*own.items(), ("torch", required_by_torchvision())]
    fits = all(installed(name) and SpecifierSet(text).contains(installed(name), True) for name, text in stated)
    packages = " ".join(f'"{name}{text}"' if text else name for name, text in own.items())
    installer = "pip" if find_spec("pip") else "uv pip"
    return f"{installer} install --upgrade {'--force-reinstall ' if fits else ''}{packages}"
