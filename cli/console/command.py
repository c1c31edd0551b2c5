"""Make commands of typed functions and settings: fields are the arguments, docstrings the help."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from argparse import SUPPRESS, Action
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from textwrap import fill, wrap
from threading import Timer
from types import UnionType
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from oscine.cli.console.compat import actions_of, options_of, type_of
from oscine.cli.console.examples import with_examples
from oscine.models.errors import Misuse
from oscine.models.text.safe_text import escape_lines

LISTED = 3  # exit code: finished, but some files are in the error table
# How a complaint about a union of types goes on before it says what was expected; "null" is what nobody gives by mistake.
JSONARGPARSE_NOISE = (
    "Does not validate",
    "Subtypes:",
    "Errors:",
    "Given value type:",
    "- Expected a <class 'NoneType'>",
)
PLAIN_WORDS = {
    "Parser key ": "",
    "a <class 'int'>": "a whole number",
    "a <class 'float'>": "a number",
    "a <class 'bool'>": "true or false",
    "a typing.Literal": "one of ",
}


def say_loading(command: str, *things: str) -> None:
    """Say on standard error that PyTorch is being loaded, and what comes after it, before it is imported.

    That takes many seconds in which nothing else is seen. Where it is loaded already there is nothing to wait for.
    """
    if "torch" not in sys.modules:
        print(f"oscine {command}: loading {', then '.join(['PyTorch', *things])} ...", file=sys.stderr, flush=True)


@contextmanager
def say_if_slow(command: str, what: str) -> Iterator[None]:
    """Say on standard error what is being done, where the block takes longer than half a second."""
    timer = Timer(0.5, print, [f"oscine {command}: {what} ..."], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def paragraphs(text: str, width: int) -> str:
    """Fill each paragraph of a text to the terminal's width; leave those with indented lines as they are."""
    return "\n\n".join(
        part if "\n " in f"\n{part}" else fill(" ".join(part.split()), width, break_on_hyphens=False)
        for part in text.strip().split("\n\n")
    )


class Help(DefaultHelpFormatter):
    """Says of every option what it means and what holds without it, in words."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return paragraphs(text, width)

    def start_section(self, heading: str | None) -> None:
        super().start_section(heading and fill(heading, self._width))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width, break_on_hyphens=False)

    def _get_default_metavar_for_optional(self, action: Action) -> str:
        return number(type_of(action)) or super()._get_default_metavar_for_optional(action)

    def _get_help_string(self, action: Action) -> str:
        meaning = " ".join((action.help or "").split()).partition(" Default: ")[0].rstrip(".")  # Lightning says it, too
        if not action.option_strings or action.nargs == 0:
            return meaning
        value: Any = str(action.default).lower() if isinstance(action.default, bool) else action.default
        if value is None and not action.required and "." in action.dest:
            value = "null"  # a word of YAML, of whose keys it is said
        if value not in (None, SUPPRESS, []):
            # Two numbers as YAML and the command line have them.
            return f"{meaning} (default: {list(value) if isinstance(value, tuple) else value})"
        return f"{meaning} (required)" if action.required else meaning


def number(hint: Any) -> str:
    """Return the placeholder of a number: N of a whole one, NUMBER of any; "" of another type."""
    kinds = set(get_args(hint) if get_origin(hint) in (Union, UnionType) else [hint]) - {type(None)}
    if not all(isinstance(kind, type) and issubclass(kind, (int, float)) and kind is not bool for kind in kinds):
        return ""
    return "N" if all(issubclass(kind, int) for kind in kinds) else "NUMBER"


# A YAML may be a stranger's: nothing that it says is imported.
set_parsing_settings(import_path_denylist=["*"])


class Parser(ArgumentParser):
    """Says in one line what does not fit, and raises it as every other error that a user can mend.

    orders: options that ask for something to be done now, such as overwrite; the command line alone may give them.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.orders: list[str] = []
        super().__init__(*args, allow_abbrev=False, **settings)  # half an option may be another one, taken in silence
        command = self.prog.removeprefix("oscine ").removesuffix(" CONFIG")
        self.description = with_examples(command, self.description or "")

    def add_order(self, option: str, **settings: Any) -> None:
        """Add an option that asks for something to be done now: no YAML may give it, and none is printed with it."""
        self.orders.append(option.removeprefix("--"))
        self.add_argument(option, **settings)

    def dump(self, cfg: Namespace, *args: Any, **settings: Any) -> str:
        """Return settings as YAML, without orders."""
        written = cfg.clone()
        for order in self.orders:
            written.pop(order, None)
        return super().dump(written, *args, **settings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # one of the parsers that parse a part; the whole one has the last word
            super().error(message, ex)
        lines = [line.strip() for line in message.splitlines()]
        what = " ".join(line.removeprefix("- ") for line in lines if not line.startswith(JSONARGPARSE_NOISE))
        for its, ours in PLAIN_WORDS.items():
            what = what.replace(its, ours)
        near = nearest(what, options_of(self))
        raise Misuse(f"{what}; {f'did you mean {near}? ' * bool(near)}{self.prog} --help lists what it takes") from None


# How a key that is not known is complained of: on the command line, in a YAML's section, as a section of a YAML.
UNKNOWN = (
    r"unrecognized arguments: .*?(?P<option>--[^\s=]+)",
    r"'(?P<section>[\w.]+)' does not accept option '(?P<key>\w+)'",
    r"[Kk]ey '(?P<option>[\w.]+?)(\.\*)?' is not accepted",
    r"'(?P<option>[\w.]+?)(\.\*)?' is not accepted",
)


def nearest(complaint: str, options: Iterable[str]) -> str:
    """Find the option that was meant by an unknown one in a complaint, spelt as it was given; "" where none is near."""
    found = next((match for pattern in UNKNOWN if (match := re.search(pattern, complaint))), None)
    if not found:
        return ""
    parts = found.groupdict()
    given = parts.get("option") or f"{parts['section']}.{parts['key']}"
    every = [option.removeprefix("--") for option in options if option.startswith("--")]
    sections = {option.rpartition(".")[0] for option in every}  # which are options, too, and never meant
    known = sorted((option for option in every if option not in sections), key=lambda option: -option.count("."))
    section, _, key = given.removeprefix("--").rpartition(".")
    inside = {name.rpartition(".")[2]: name for name in known if section in ("", name.rpartition(".")[0])}
    near = [inside[name] for name in get_close_matches(key, inside, n=1, cutoff=0.65)]
    near = near or get_close_matches(given.removeprefix("--"), known, n=1, cutoff=0.8)
    if not near:  # in another section
        keys = {name.rpartition(".")[2]: name for name in known}
        within = [name for name in keys if {*name.split("_")} <= {*key.split("_")}]  # steps in max_steps
        near = [keys[name] for name in within[:1] or get_close_matches(key, keys, n=1, cutoff=0.7)]
    return "".join(f"{'--' * given.startswith('--')}{name}" for name in near)


def complain(text: str) -> None:
    """Print a line on standard error, if anybody is there to read it: the terminal may be closed.

    Names of others, in an error, do not steer it.
    """
    with suppress(OSError):
        print(escape_lines(text), file=sys.stderr)


def call(function: Callable[..., int | None], arguments: list[str], command: str = "") -> int | None:
    """Parse the arguments for a function and call it. command: what calls it, if not its name alone.

    Positional-only parameters are positional arguments, a list one or more of them, and may be left out where they have a
    default; a bool that is False by default is a flag; the rest are options, with the types of the signature. What does not
    fit is a `Misuse`.
    """
    settings = parser(function, command).parse_args(arguments)
    positional = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_ONLY]
    values = {name: settings[name] for name in inspect.signature(function).parameters}
    return function(*[values.pop(name) for name in positional], **values)


def meanings(kind: type) -> dict[str, str]:
    """Read what the docstrings of a settings class and of its parents say of every field."""
    docs = [docstring_parser.parse(inspect.getdoc(one) or "") for one in reversed(kind.__mro__) if is_dataclass(one)]
    return {param.arg_name: " ".join((param.description or "").split()) for doc in docs for param in doc.params}


def add_class(made: Parser, kind: type, section: str, *, ours: Mapping[str, type], skip: Collection[str]) -> None:
    """Add what the constructor of a class takes as options of a section, with what its docstring says of each.

    ours: name to the settings of oscine's own classes, whose meaning somebody's own that builds on one of them has, too.
    """
    made.add_class_arguments(kind, section, skip={*skip})
    helps: dict[str, str] = {}
    for one in [one.__name__ for one in reversed(kind.__mro__) if one.__name__ in ours]:
        helps |= meanings(ours[one])
    for action in actions_of(made):
        name = action.dest.removeprefix(f"{section}.")
        if not action.help and name in helps:
            action.help = helps[name]


def add_fields(made: Parser, kind: type, skip: Collection[str] = ()) -> None:
    """Add the fields of a settings class as options of their own, those that must be given first; orders are the last.

    A bool that is False by default is a flag. Fields that are settings themselves are left out.
    """
    helps, hints = meanings(kind), get_type_hints(kind)
    given = [field for field in fields(kind) if field.name not in skip and not is_dataclass(hints[field.name])]
    for field in sorted(given, key=lambda field: (field.default, field.default_factory) != (MISSING, MISSING)):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        option = f"--{field.name}"
        spelt = [option] if default is not False else [*dict.fromkeys((option, option.replace("_", "-")))]
        add_option(made, spelt, hints[field.name], default=default, text=helps[field.name])


def add_option(made: Parser, spelt: Sequence[str], hint: Any, *, default: Any, text: str) -> None:
    """Add an option of a type: a flag where it is False by default, required where it has no default (MISSING)."""
    if default is False:
        made.add_argument(*spelt, action="store_true", help=text)
    elif default is MISSING:
        made.add_argument(*spelt, type=hint, required=True, help=text)
    else:
        made.add_argument(*spelt, type=hint, default=default, help=text)


def parser(function: Callable[..., int | None], command: str = "") -> Parser:
    """Make the parser of a function, as `call` describes it."""
    doc = docstring_parser.parse(inspect.getdoc(function) or "")
    helps = {param.arg_name: param.description for param in doc.params}
    made = Parser(
        prog=f"oscine {command or function.__name__}",
        description="\n\n".join(part for part in (doc.short_description, doc.long_description) if part),
        formatter_class=Help,
    )
    hints = get_type_hints(function)
    usage = [made.prog]
    for name, parameter in inspect.signature(function).parameters.items():
        place = name.upper()
        if parameter.kind is parameter.POSITIONAL_ONLY and get_origin(hints[name]) is list:
            made.add_argument(name, type=get_args(hints[name])[0], nargs="+", help=helps[name], metavar=place)
            usage.append(f"{place} ...")
        elif parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            made.add_argument(name, type=hints[name], help=helps[name], metavar=place)
            usage.append(place)
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            made.add_argument(
                name, type=hints[name], help=helps[name], metavar=place, nargs="?", default=parameter.default
            )
            usage.append(f"[{place}]")
        else:
            option, required = "--" + name.replace("_", "-"), parameter.default is parameter.empty
            default = MISSING if required else parameter.default
            add_option(made, [option], hints[name], default=default, text=helps[name] or "")
            usage += [f"{option} {number(hints[name]) or place}"] if required else []
    has_options = any(one.kind is not one.POSITIONAL_ONLY for one in inspect.signature(function).parameters.values())
    width = shutil.get_terminal_size().columns - len("usage: ") - 2
    words = " ".join([*usage, "[options]"] if has_options else usage)
    made.usage = fill(words, width, subsequent_indent=" " * 9, break_on_hyphens=False)
    return made
