"""Choose a device, name it, and move an encoder there."""

from __future__ import annotations

import logging
import platform
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from oscine.models.errors import OscineError

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder

logger = logging.getLogger(__name__)

AUTO, CPU = "auto", "cpu"

# What is usual; torch knows others, some of which come with packages of their own.
DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
GPUS = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps"}  # what people type instead


def choose_device(device: str = AUTO) -> str:
    """Return the device of that name; auto is cuda where there is one, then mps, then cpu."""
    if device != AUTO:
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else CPU


def clips_at_once(device: str) -> int:
    """Return how many clips a probe's encoder takes at once by default: on a CPU more than one is no faster."""
    return 1 if device == CPU else 16


def device_name(device: str) -> str:
    """Return what its maker calls a device, such as cuda:0."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and kind == CPU else f"{kind} ({platform.machine()})"


def check_device(device: str) -> None:
    """Raise where no device can have that name; whether it is there, torch alone knows."""
    kind = device.partition(":")[0]
    near = GPUS.get(kind.lower()) or next(iter(get_close_matches(kind, DEVICES, n=1, cutoff=0.7)), "")
    if not re.fullmatch(r"[a-z_]\w*(:\d+)?", device) or (near and kind not in DEVICES):
        meant = f"did you mean {near}? " if near else ""
        raise OscineError(f"no device {device!r}; {meant}it is {', '.join(DEVICES)}, or such as cuda:1")


def pick_device(device: str) -> str:
    """Return the device of a name; which one auto is, is logged."""
    chosen = choose_device(device)
    if device == AUTO:
        logger.info("device: %s, %s", chosen, device_name(chosen))
    return chosen


def moved(encoder: Encoder, device: str) -> Encoder:
    """Return the encoder on a device; auto is the best that is there and that the encoder can compute on."""
    asked, device = device, pick_device(device)
    try:
        encoder.check_device(device.partition(":")[0])
    except OscineError as error:
        if asked != AUTO:
            raise
        logger.info("device: %s (%s)", CPU, error)
        device = CPU
    try:
        return encoder.to(device)
    # Each kind of device has its own way to be absent.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OscineError(f"no device {device!r} here ({reason}); cpu is always there") from None
