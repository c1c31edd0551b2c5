"""`--plugin`, an option of the whole command line: other people's code that this call may import."""

from __future__ import annotations

from oscine.cli.console.command import say_if_slow
from oscine.models.errors import Misuse
from oscine.models.plugins.load import FLAG, allow_plugin

OPTION = "--plugin"


def split_plugins(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments without --plugin, and what is named behind each; what stands behind -- is left as it is."""
    rest, named = [], []
    left = iter(arguments)
    for one in left:
        option, equals, value = one.partition("=")
        if one == "--":
            rest += [one, *left]
        elif option != OPTION:
            rest.append(one)
        else:
            named.append(value if equals else next(left, ""))
            if not named[-1] or named[-1].startswith("-"):
                raise Misuse(f"{OPTION} {named[-1]}".strip() + f" names no plugin; expected {FLAG}")
    return rest, named


def allow_plugins(command: str, named: list[str]) -> None:
    """Import what a command line allows, for as long as this process lives."""
    for plugin in named:
        with say_if_slow(command, f"loading the plugin {plugin}"):  # with PyTorch
            allow_plugin(plugin)
