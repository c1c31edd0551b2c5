"""Devices: the best that is there, what it is called, and how many clips it takes at once."""

from __future__ import annotations

import platform
from pathlib import Path

AUTO, CPU = "auto", "cpu"


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
