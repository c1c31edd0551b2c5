"""A typed function as a command: its signature is the arguments, its docstring the help."""

from __future__ import annotations

import inspect
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import NoReturn, get_type_hints

import docstring_parser
from jsonargparse import ArgumentParser, DefaultHelpFormatter

from oscine.models.errors import OscineError

# How a complaint about a union of types goes on before it says what was expected.
TALK = ("Does not validate", "Subtypes:", "Errors:", "Given value type:")


class Misuse(OscineError):
    """A call that does not fit its command; its exit code says so."""


class Help(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps a description's lines and shows every option's type and value."""


class Parser(ArgumentParser):
    """Says in one line what does not fit, and raises it as every other error that a user can mend."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # one of the parsers that parse a part; the whole one has the last word
            super().error(message, ex)
        lines = [line.strip() for line in message.splitlines()]
        what = " ".join(line for line in lines if not line.startswith(TALK))
        raise Misuse(f"{what}; {self.prog} --help lists what it takes") from None


def call(function: Callable[..., int | None], arguments: list[str]) -> int | None:
    """Parse the arguments for a function and call it.

    Positional-only parameters are positional arguments; a bool that is False by default is a flag; the rest are options,
    with the types of the signature. What does not fit is a `Misuse`.
    """
    settings = parser(function).parse_args(arguments)
    positional = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_ONLY]
    values = {name: settings[name] for name in inspect.signature(function).parameters}
    return function(*[values.pop(name) for name in positional], **values)


def parser(function: Callable[..., int | None]) -> Parser:
    doc = docstring_parser.parse(inspect.getdoc(function) or "")
    helps = {param.arg_name: param.description for param in doc.params}
    made = Parser(
        prog=f"oscine {function.__name__}",
        description="\n\n".join(part for part in (doc.short_description, doc.long_description) if part),
        formatter_class=Help,
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
