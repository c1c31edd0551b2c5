"""Write the call that comes next, with all that it has to share with the one before."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

LABELS = Path("labels")  # the folder of journals where none is named


def next_call(step: str, *arguments: object, options: Mapping[str, object]) -> str:
    """Return a call of `oscine label STEP`; options that are empty, or the usual folder of labels, are left out."""
    words = [str(argument) for argument in arguments]
    for name, value in options.items():
        if value and value != LABELS:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return shlex.join(["oscine", "label", step, *words])
