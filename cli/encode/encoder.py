"""The encoder that a command works with: by name, with its weights, on a device."""

from __future__ import annotations

import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from oscine.models.encoders.base.devices import AUTO, choose_device, device_name
from oscine.models.errors import Misuse, OscineError
from oscine.models.zoo import HUB, LOCAL, check_model, create_model

if TYPE_CHECKING:
    from oscine.models.encoders.base.encoder import Encoder

# What is usual; torch knows others, some of which come with packages of their own.
DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
GPUS = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps"}  # what people type instead


def check_encoder(model: str, checkpoint: Path | None, random_weights: bool) -> None:
    """Raise what `open_encoder` would raise, as far as arguments and files tell it, without torch."""
    if random_weights and (checkpoint or model.startswith((HUB, LOCAL))):
        raise Misuse(
            f"{checkpoint or model} brings its own weights; leave out --random-weights, or name a model of the zoo alone"
        )
    check_model(model, pretrained=not (checkpoint or random_weights), checkpoint_path=checkpoint)


def check_device(device: str) -> None:
    """Raise where no device can have that name; whether it is there, torch alone knows."""
    kind = device.partition(":")[0]
    near = GPUS.get(kind.lower()) or next(iter(get_close_matches(kind, DEVICES, n=1, cutoff=0.7)), "")
    if not re.fullmatch(r"[a-z_]\w*(:\d+)?", device) or (near and kind not in DEVICES):
        meant = f"did you mean {near}? " if near else ""
        raise OscineError(f"no device {device!r}; {meant}it is {', '.join(DEVICES)}, or such as cuda:1")


def open_encoder(
    model: str, checkpoint: Path | None, random_weights: bool, device: str = "cpu", seed: int = 0
) -> Encoder:
    """An encoder with published, saved or given weights; untrained only where that is asked for, which it then notes."""
    check_encoder(model, checkpoint, random_weights)
    if not random_weights:
        return moved(create_model(model, pretrained=checkpoint is None, checkpoint_path=checkpoint), device)

    import torch

    torch.manual_seed(seed)
    encoder = create_model(model)
    encoder.provenance = {"model": model, "sha256": "random"}
    return moved(encoder, device)


def pick_device(device: str) -> str:
    """The device that --device names; which one auto is, is said in a line."""
    chosen = choose_device(device)
    if device == AUTO:
        print(f"device: {chosen}, {device_name(chosen)}", file=sys.stderr)
    return chosen


def moved(encoder: Encoder, device: str) -> Encoder:
    """The encoder on the device of that name, or the best that is there, if there is one."""
    device = pick_device(device)
    try:
        return encoder.to(device)
    # Each kind of device has its own way to be absent.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OscineError(f"no device {device!r} here ({reason}); --device cpu is always there") from None
