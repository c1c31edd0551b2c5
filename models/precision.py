"""In which numbers an encoder computes: float32, or bfloat16 where that is faster and the processor survives it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch.backends import cudnn

from oscine.models.arguments import BFLOAT16, FLOAT32
from oscine.models.errors import OscineError

WORTH = 1.2  # times as fast; less is not worth the digits
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


def faster_precision(device: torch.device) -> str:
    """What `auto` stands for on a device; on a CPU, measured."""
    if device.type == "cuda":
        return BFLOAT16 if torch.cuda.is_bf16_supported(including_emulation=False) else FLOAT32
    if device.type != "cpu" or not _announces_bfloat16():
        return FLOAT32
    gain = bfloat16_gain()
    return BFLOAT16 if gain and gain >= WORTH else FLOAT32


def check_survives(precision: str, device: torch.device) -> None:
    """An error instead of a dead process where bfloat16 is asked of a CPU that cannot do it."""
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
    try:
        done = subprocess.run(
            [sys.executable, "-c", TRIAL, str(torch.get_num_threads())],
            capture_output=True, text=True, timeout=TRIAL_SECONDS, check=True,
        )  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return float(done.stdout)


def _announces_bfloat16() -> bool:
    """Whether the CPU says that it has instructions for bfloat16: torch's own, unofficial, questions."""
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_sve_supported")
    return any(getattr(torch.cpu, question, lambda: False)() for question in questions)


@contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """An encoder on a device computes in float32, or bfloat16 where that is the precision."""
    half = precision == BFLOAT16
    with (
        torch.autocast(device.type, torch.bfloat16, enabled=half),
        cudnn.flags(enabled=True, allow_tf32=half),  # else its float32 convolutions keep 10 bits of the 23
    ):
        yield
