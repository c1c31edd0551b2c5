"""A typed function as a command: its signature is the arguments, its docstring the help."""

from __future__ import annotations

import inspect
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import get_type_hints

import docstring_parser
from jsonargparse import ArgumentParser


def call(function: Callable[..., int | None], arguments: list[str]) -> int | None:
    """Parse the arguments for a function and call it.

    Positional-only parameters are positional arguments; a bool that is False by default is a flag; the rest are options,
    with the types of the signature. What does not fit ends the program with a usage line and exit code 2.
    """
    settings = parser(function).parse_args(arguments)
    positional = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_ONLY]
    values = {name: settings[name] for name in inspect.signature(function).parameters}
    return function(*[values.pop(name) for name in positional], **values)


def parser(function: Callable[..., int | None]) -> ArgumentParser:
    doc = docstring_parser.parse(inspect.getdoc(function) or "")
    helps = {param.arg_name: param.description for param in doc.params}
    made = ArgumentParser(
        prog=f"oscine {function.__name__}",
        description="\n\n".join(part for part in (doc.short_description, doc.long_description) if part),
        formatter_class=RawDescriptionHelpFormatter,
    )
    hints = get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        option = "--" + name.replace("_", "-")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            made.add_argument(name, type=hints[name], help=helps[name])
        elif parameter.default is False:
            made.add_argument(option, action="store_true", help=helps[name])
        elif parameter.default is parameter.empty:
            made.add_argument(option, type=hints[name], required=True, help=helps[name])
        else:
            made.add_argument(option, type=hints[name], default=parameter.default, help=helps[name])
    return made
