"""`oscine label STEP`: choose which clips to label next, label them, combine what several people said, judge strategies.

One file a step, in the folder `label` of this room: a typed function of the step's name, whose docstring is its help.
"""

from __future__ import annotations

import importlib
import shutil
from difflib import get_close_matches

from oscine.cli.console.command import call, paragraphs
from oscine.cli.console.examples import with_examples
from oscine.models.errors import Misuse

STEPS: dict[str, str] = {
    "page": "label in the browser; a probe learns and chooses what comes next",
    "suggest": "write which clips to label next, for a spreadsheet, Raven, Audacity",
    "read": "take what was filled in there back",
    "combine": "combine what several people said of clips into one labelled table",
    "simulate": "say what strategies would have saved on clips with labels already",
}
PURPOSE = (
    """Choose which clips of a table of embeddings to label next, label them, and combine what several people said."""
)


def main(arguments: list[str]) -> int | None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    step, *rest = arguments
    if step not in STEPS:
        meant = "".join(f"did you mean {near}? " for near in get_close_matches(step, STEPS, n=1))
        raise Misuse(f"no step {step!r}; {meant}there are {', '.join(STEPS)}")
    module = importlib.import_module(f"oscine.cli.label.{step}")
    if hasattr(module, "main"):  # where arguments are more than a signature says
        return module.main(rest)
    return call(getattr(module, step), rest, f"label {step}")


def usage() -> str:
    """Return what the command says when no step is named."""
    steps = "\n".join(f"  {name:<10}{purpose}" for name, purpose in STEPS.items())
    text = f"{PURPOSE}\n\nsteps:\n{steps}\n\noscine label STEP --help    what a step takes and does"
    width = shutil.get_terminal_size().columns - 2
    return f"usage: oscine label STEP [ARGUMENTS]\n\n{paragraphs(with_examples('label', text), width)}"
