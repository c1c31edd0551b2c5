"""The front door: `oscine COMMAND`. One file a command; each is a typed function whose docstring is its help."""

from __future__ import annotations

import importlib
import logging
import os
import sys

from oscine import __version__
from oscine.cli.command import Misuse
from oscine.models.errors import OscineError

COMMANDS = {
    "quickstart": "the main job end to end, small: make data, pretrain, probe, report",
    "chorus": "write a synthetic dawn chorus, a small labelled data set",
    "models": "list the encoders of the zoo",
    "pretrain": "pretrain an encoder on a folder of recordings, from a YAML",
    "probe": "judge a frozen encoder on a labelled table, from a YAML",
    "embed": "turn a folder of recordings into a table of embeddings",
    "merge": "join the tables of several embed jobs into one",
    "export": "write an encoder as an ONNX file, waveform in, embedding out",
    "shards": "pack a folder of recordings into tar files for pretraining on clusters",
    "download": "fetch weights ahead, for machines without a network",
}
HELP = f"""usage: oscine COMMAND [CONFIG] [--key value ...]

{chr(10).join(f"  {name:<12}{purpose}" for name, purpose in COMMANDS.items())}

  oscine COMMAND --help    what a command takes and does
  oscine --version         the version
"""
FAILED, MISUSED, INTERRUPTED = 1, 2, 130


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit code: 0 done, 1 failed, 2 wrong call; a command's help names others."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # every retry, twice; what came of them is said here
    sys.exit(dispatch(sys.argv[1:] if arguments is None else arguments))


def dispatch(arguments: list[str]) -> int:
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name in ("--help", "-h"):
        print(HELP, end="")
        return 0
    if name == "--version":
        print(f"oscine {__version__}")
        return 0
    if name not in COMMANDS:
        print(f"oscine: no command {name!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return MISUSED
    command = importlib.import_module(f"oscine.cli.{name}")
    try:
        return command.main(rest) or 0
    except OscineError as error:
        if os.environ.get("OSCINE_TRACEBACK"):
            raise
        print(f"oscine {name}: {error}", file=sys.stderr)
        return MISUSED if isinstance(error, Misuse) else FAILED
    except KeyboardInterrupt:
        print(f"oscine {name}: stopped", file=sys.stderr)
        return INTERRUPTED
