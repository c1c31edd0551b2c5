"""Choose in which numbers an encoder computes: float32, or bfloat16 where a GPU has it or it is asked for."""

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

# A linear layer of a base encoder.
TRIAL = """
import torch
tokens, weights = torch.randn(512, 768, dtype=torch.bfloat16), torch.randn(3072, 768, dtype=torch.bfloat16)
torch.nn.functional.linear(tokens, weights)
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
    if precision == BFLOAT16 and device.type == "cpu" and not survives_bfloat16():
        raise OscineError(
            "this processor announces instructions for bfloat16 and dies of them (virtual machines do that); "
            "use float32, or set ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment"
        )
    return precision


@cache
def survives_bfloat16() -> bool:
    """Return whether a process that computes in bfloat16 on this CPU lives; it is tried in a process of its own.

    Some virtual machines announce matrix units and then stop whoever uses them (SIGILL).
    """
    try:
        subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, timeout=TRIAL_SECONDS, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return True


@contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """Let an encoder on a device compute in float32, or in bfloat16 where that is the precision."""
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
