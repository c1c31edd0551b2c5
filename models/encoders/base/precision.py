"""In which numbers an encoder computes: float32, or bfloat16 where a GPU has it or it is asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from oscine.models.errors import OscineError

if TYPE_CHECKING:
    import torch

TRIAL_SECONDS = 120

# A linear layer of a base encoder, in both precisions.
TRIAL = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
def fastest(dtype):
    tokens, weights, seconds = torch.randn(512, 768).to(dtype), torch.randn(3072, 768).to(dtype), []
    for _ in range(6):
        begin = time.perf_counter()
        torch.nn.functional.linear(tokens, weights)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
print(fastest(torch.float32) / fastest(torch.bfloat16))
"""

AUTO, FLOAT32, BFLOAT16 = "auto", "float32", "bfloat16"
PRECISIONS = (AUTO, FLOAT32, BFLOAT16)


def choose_precision(precision: str, device: torch.device) -> str:
    """Choose float32 or bfloat16, by what is asked for and, where that is `auto`, by the device alone.

    `auto` is bfloat16 on a GPU that computes in it, else float32. Neither the length of a job nor a timed trial decides, so
    that tables of one encoder and one kind of device have the same numbers.
    """
    import torch

    check_precision(precision)
    if precision == AUTO:
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return BFLOAT16 if able else FLOAT32
    check_survives(precision, device)
    return precision


def check_survives(precision: str, device: torch.device) -> None:
    """Raise an error instead of a dead process where bfloat16 is asked of a CPU that cannot do it."""
    if precision == BFLOAT16 and device.type == "cpu" and bfloat16_gain() is None:
        raise OscineError(
            "this processor announces instructions for bfloat16 and dies of them (virtual machines do that); "
            "use float32, or set ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment"
        )


@cache
def bfloat16_gain() -> float | None:
    """How many times as fast a linear layer is in bfloat16 on this CPU; None where trying it is fatal.

    Tried in a process of its own: some virtual machines announce matrix units and then stop whoever uses them (SIGILL).
    """
    import torch

    try:
        done = subprocess.run(
            [sys.executable, "-c", TRIAL, str(torch.get_num_threads())],
            capture_output=True, text=True, timeout=TRIAL_SECONDS, check=True,
        )  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return float(done.stdout)


@contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """An encoder on a device computes in float32, or bfloat16 where that is the precision."""
    import torch
    from torch.backends import cudnn

    half = precision == BFLOAT16
    with (
        torch.autocast(device.type, torch.bfloat16, enabled=half),
        cudnn.flags(enabled=True, allow_tf32=half),  # else its float32 convolutions keep 10 bits of the 23
    ):
        yield


def check_precision(precision: str) -> str:
    if precision not in PRECISIONS:
        raise OscineError(f"no precision {precision!r}; choose from {', '.join(PRECISIONS)}")
    return precision
