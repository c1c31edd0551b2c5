"""Run `oscine COMMAND`. One file a command, in folders as `oscine --help` groups them.

Each is a typed function of the command's name, whose docstring is its help; where arguments are more than a signature says,
`main` beside it parses them. What a function works with it imports itself: --help, and the complaint about a misspelt
option, need no torch.
"""

from __future__ import annotations

import importlib
import logging
import os
import select
import signal
import sys
from difflib import get_close_matches
from functools import partial
from io import TextIOWrapper
from types import FrameType, ModuleType

from oscine import __version__
from oscine.cli.console.command import call, complain, say_if_slow
from oscine.models.errors import Misuse, OscineError
from oscine.models.plugins.load import FLAG, allow_plugin
from oscine.models.text.safe_text import escape_lines

# The commands as --help groups them: a group is a folder beside this file, and "" this one.
GROUPS = {
    "": {
        "quickstart": "the main job end to end, small: make data, pretrain, probe, report",
        "doctor": "examine this installation, for bug reports",
    },
    "encode": {
        "models": "list the encoders of the zoo",
        "embed": "turn recordings into a table of embeddings",
        "predict": "write what a fitted probe says of recordings",
        "merge": "join the tables of several embed jobs into one",
        "export": "write an encoder, and a probe on it, as one ONNX file",
    },
    "pretrain": {
        "pretrain": "pretrain an encoder on a folder of recordings, from a YAML",
        "shards": "pack a folder of recordings into tar files, to pretrain on a cluster",
    },
    "probe": {
        "probe": "judge a frozen encoder on a labelled table, from a YAML",
        "compare": "show runs of probes beside published figures",
        "chorus": "write a synthetic dawn chorus, a small labelled data set",
        "label": "choose clips to label, label them in the browser, combine labels",
    },
    "hub": {
        "download": "fetch weights ahead, for machines without a network",
        "convert": "turn an official checkpoint into a folder in oscine's layout",
        "publish": "put an encoder or a probe on the Hub, for anyone to load",
    },
}
COMMANDS = {name: purpose for group in GROUPS.values() for name, purpose in group.items()}
HEADINGS = {
    "": "begin here",
    "encode": "use an encoder",
    "pretrain": "make one",
    "probe": "judge one",
    "hub": "fetch and publish",
}
GROUPS_IN_WORDS = "\n".join(
    f"\n{HEADINGS[group]}:\n" + "\n".join(f"  {name:<12}{purpose}" for name, purpose in commands.items())
    for group, commands in GROUPS.items()
)
HELP = f"""usage: oscine COMMAND [ARGUMENTS]
{GROUPS_IN_WORDS}

  oscine COMMAND --help    what a command takes and does
  oscine --version         the version

  --plugin FILE.py         with any command: use the encoders, recipes, probes and strategies
  --plugin MODULE          in code of your own (docs/extend.md); may be repeated
"""
GO_ON = {"quickstart", "chorus", "embed", "predict", "shards", "publish", "label"}  # called again in the same way
FAILED, MISUSED, INTERRUPTED = 1, 2, 130
SIGNALLED = 128  # and the signal's number: exit code of what a signal ends
UNREAD = SIGNALLED + 13  # SIGPIPE's, which Windows lacks: whoever read the output has enough
# Before a machine takes its processes back, and when the terminal or the connection to it is closed, which Windows lacks.
STOPS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit code: 0 done, 1 failed, 2 wrong call; a command's help names others."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    # Threads that wait for one another give their core away: with those that keep it, a small fit took ten times as long on
    # a machine that does other work as well. Torch reads this when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("oscine").setLevel(logging.INFO)  # what was guessed and decided for the user
    # In a pipe on Windows, and in an old locale, output is no UTF-8: what it cannot write is escaped rather than an error.
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    stop = Stop()
    asked = [number for number in STOPS if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores one of them
    before = {number: signal.signal(number, stop) for number in asked}
    try:
        code = dispatch(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        if not output_is_closed():
            raise
        code = UNREAD
    finally:
        for number, own in before.items():
            signal.signal(number, own)
    sys.exit(SIGNALLED + stop.came if code == INTERRUPTED and stop.came else code)


class Lines(logging.Formatter):
    """What is logged, as lines for a person: warnings are marked as such, what is merely said is not.

    Names of others, in a message, steer no terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        marked = record.levelno > logging.INFO
        text = f"{record.levelname} {super().format(record)}" if marked else super().format(record)
        return escape_lines(text)


class Stop:
    """A signal to stop does what Ctrl-C does, in this process; in those that it forks, SIGTERM what it does without this.

    came: which one, or 0.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.came = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            if number == signal.SIGTERM:
                os._exit(SIGNALLED + number)
            return  # a closed terminal tells every process, and this one's parent ends it
        self.came = number
        # Lightning puts a handler before this one while it trains, which ends the run after the step.
        if signal.getsignal(number) is self:
            raise KeyboardInterrupt


def output_is_closed() -> bool:
    """Return whether nobody reads standard output any more, as behind `| head`; then nothing more is written to it."""
    if sys.platform == "win32":
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    closed = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left when it ends
    return closed


def command_module(name: str) -> ModuleType:
    """Import the file of a command."""
    (group,) = (group for group, commands in GROUPS.items() if name in commands)
    return importlib.import_module(".".join(part for part in ("oscine.cli", group, name) if part))


def dispatch(arguments: list[str]) -> int:
    """Run the command that arguments name, and return its exit code; an error is one line on standard error."""
    try:
        arguments, plugins = split_plugins(arguments)
    except Misuse as error:
        complain(f"oscine: {error}")
        return MISUSED
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name in ("--help", "-h"):
        print(HELP, end="")
        return 0
    if name == "--version":
        print(f"oscine {__version__}")
        return 0
    if name not in COMMANDS:
        meant = "".join(f"did you mean {near}? " for near in get_close_matches(name, COMMANDS, n=1))
        complain(f"oscine: no command {name!r}; {meant}there are {', '.join(COMMANDS)}")
        return MISUSED
    try:
        for plugin in plugins:
            with say_if_slow(name, f"loading the plugin {plugin}"):  # with PyTorch
                allow_plugin(plugin)
        module = command_module(name)
        run = getattr(module, "main", None) or partial(call, getattr(module, name))
        return run(rest) or 0
    except OscineError as error:
        if os.environ.get("OSCINE_TRACEBACK"):
            raise
        complain(f"oscine {name}: {error}")
        return MISUSED if isinstance(error, Misuse) else FAILED
    except KeyboardInterrupt as stopped:
        left = str(stopped) or "the same call goes on" * (name in GO_ON)
        complain("; ".join([f"oscine {name}: stopped", *filter(None, [left])]))
        return INTERRUPTED


def split_plugins(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments without --plugin, and what is named behind each; what stands behind -- is left as it is."""
    rest, named = [], []
    left = iter(arguments)
    for one in left:
        option, equals, value = one.partition("=")
        if one == "--":
            rest += [one, *left]
        elif option != "--plugin":
            rest.append(one)
        else:
            named.append(value if equals else next(left, ""))
            if not named[-1] or named[-1].startswith("-"):
                raise Misuse(f"--plugin {named[-1]}".strip() + f" names no plugin; expected {FLAG}")
    return rest, named
