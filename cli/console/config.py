"""Find, read and parse a CONFIG: the path of a YAML, or the name of one that comes with oscine."""

from __future__ import annotations

import glob
import shutil
from argparse import SUPPRESS
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from textwrap import fill
from typing import Any

from jsonargparse import Namespace

from oscine.cli.console.command import Help, Parser, paragraphs
from oscine.cli.console.compat import actions_of, hide_config_files, option_of
from oscine.cli.console.examples import with_examples
from oscine.models.errors import Misuse
from oscine.models.files import similar_path
from oscine.models.json_text import dotted
from oscine.models.text.yaml_text import parse_yaml, read_yaml

CONFIGS = Path(__file__).absolute().parents[2] / "configs"  # beside this room, in a checkout and in an installation
FIRST = "Take this first"  # how the first line of a configuration begins that is the first choice
FOLDERS = {
    "pretrain": ["pretrain"],
    "probe": ["probe", "finetune"],
    "label": ["label"],
}  # where the configurations of a command lie


def shipped(kind: str) -> list[str]:
    """List the configurations of a command that come with oscine; those of its further folders are FOLDER/NAME."""
    own, *others = FOLDERS[kind]
    names = sorted(file.stem for file in (CONFIGS / own).iterdir())
    return names + [f"{other}/{file.stem}" for other in others for file in sorted((CONFIGS / other).iterdir())]


def find(kind: str, config: str) -> Path:
    """Return the file of a CONFIG, wherever it is."""
    if config in shipped(kind):
        return CONFIGS / f"{config if '/' in config else f'{kind}/{config}'}.yaml"
    path = Path(config)
    if not path.is_file():
        # Also by what stands behind FOLDER/.
        known = {name.rpartition("/")[2]: name for name in reversed(shipped(kind))}
        near = get_close_matches(config, [*shipped(kind), *known], n=1)
        if path.suffix and (other := similar_path(path)) and other.is_file():
            near = [str(other)]
        meant = "".join(f"did you mean {known.get(one, one)}? " for one in near)
        raise Misuse(f"no configuration {config!r}: {meant}expected a YAML file or one of {', '.join(shipped(kind))}")
    return path


def name_of(path: Path) -> str:
    """Return the name that calls a configuration: its path, or its name among those that come with oscine."""
    if CONFIGS not in path.parents:
        return str(path)
    folder, *name = path.relative_to(CONFIGS).with_suffix("").parts
    return "/".join(name if folder in (own for own, *_ in FOLDERS.values()) else [folder, *name])


def find_quickstart() -> Path:
    """Return the configuration of `oscine quickstart`."""
    return CONFIGS / "quickstart.yaml"


def read(path: Path) -> dict[str, Any]:
    """Read a YAML, which must hold a mapping."""
    return read_yaml(path, "see the shipped ones")


def check_content(content: Mapping[str, Any], source: object, orders: Collection[str]) -> None:
    """Refuse what a YAML may not do: order something, bring another YAML, or name a class to import."""
    for key, value in content.items():
        name = str(key).rstrip("+")
        if name in orders and value:
            raise Misuse(f"{source} has {name}: {value}, which the command line alone may ask for; give --{name} there")
        if name == "config":
            raise Misuse(f"{source} names another YAML, {value!r}; give it behind --config on the command line")
    if names_class(content):
        raise Misuse(f"{source} has a class_path, and no YAML names classes to import; write plain words and numbers")


def names_class(content: Any) -> bool:
    """Return whether content, which `parse_yaml` found small, asks at any depth for a class to be imported."""
    if isinstance(content, dict):
        return any(str(key).rpartition(".")[2] == "class_path" or names_class(value) for key, value in content.items())
    return isinstance(content, list) and any(map(names_class, content))


def added(kind: str, arguments: list[str]) -> list[str]:
    """Return the arguments behind a CONFIG, with the file of every --config that names a shipped one."""
    if arguments and not arguments[0].startswith("-"):
        raise Misuse(
            f"one CONFIG, not also {arguments[0]!r}: a second one, whose keys come on top, goes behind --config: "
            f"--config {arguments[0]}"
        )
    found = list(arguments)
    for place, source in configs_in(arguments):
        if not written_out(source):
            found[place] = found[place].removesuffix(source) + str(find(kind, source))
    return found


def content_of(source: str) -> dict[str, Any]:
    """Read what stands behind a --config: YAML that is written out there, or a file's."""
    return parse_yaml(source, "--config", "write it in a file") if written_out(source) else read(Path(source))


def written_out(source: str) -> bool:
    """Return whether what stands behind --config is YAML itself, not a file's name."""
    return source.lstrip().startswith("{")


def given(arguments: list[str]) -> set[str]:
    """Return the keys that a call gives itself, as options or in what it adds with --config."""
    options = {one.partition("=")[0].removeprefix("--") for one in arguments if one.startswith("--")}
    return options.union(*(dict(dotted(content)) for content in contents(arguments)))


def contents(arguments: list[str]) -> list[dict[str, Any]]:
    """Read what every --config of a call holds."""
    return [content_of(source) for _, source in configs_in(arguments)]


def configs_in(arguments: list[str], option: str = "--config") -> Iterator[tuple[int, str]]:
    """Yield the place of the value of every such option, and that: a file, or YAML that is written out."""
    for place, one in enumerate(arguments):
        given, equals, value = one.partition("=")
        if given == option and equals:
            yield place, value
        elif given == option and place + 1 < len(arguments):
            yield place + 1, arguments[place + 1]


def first_line(path: Path) -> str:
    """Return what a configuration says of itself in its first line, a comment."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def listed(kind: str, width: int) -> str:
    """List the configurations of a command by their first lines: the one to take first, for any data, for one task."""
    lines = {name: first_line(find(kind, name)) for name in shipped(kind)}
    asks = {name: "task" in read(find(kind, name)) for name in lines}
    order = sorted(lines, key=lambda name: (not lines[name].startswith(FIRST), "/" in name, asks[name], name))
    column = max(map(len, lines)) + 4
    return "\n".join(
        fill(
            lines[name],
            width,
            initial_indent=f"  {name}".ljust(column),
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
        for name in order
    )


def parser(command: str, purpose: str) -> Parser:
    """Make an empty parser for a command that takes a CONFIG; --config adds another on top of it."""
    made = Parser(
        f"oscine {command} CONFIG", usage="%(prog)s [--key.sub value ...]", description=purpose, formatter_class=Help
    )
    made.add_argument("--config", action="config", help="another YAML, whose keys come on top of CONFIG's")
    return made


def parse(made: Parser, path: Path, arguments: list[str]) -> Namespace:
    """Parse arguments on top of a CONFIG's keys, which are the values that --help shows."""
    made.prog = made.prog.replace("CONFIG", name_of(path))
    made.default_config_files = [glob.escape(str(path))]
    hide_config_files(made)
    hide_jsonargparse_extras(made)
    for source in [str(path), *(source for _, source in configs_in(arguments))]:
        check_content(content_of(source), "--config" if written_out(source) else source, made.orders)
    try:
        settings = made.parse_args(arguments)
    except RecursionError:
        raise Misuse(f"{path} is nested too deep; see the shipped ones") from None
    for key in ("config", "__default_config__"):  # where the values came from
        settings.pop(key, None)
    return settings


def parse_added(made: Parser, kind: str, arguments: list[str], option: str) -> Namespace:
    """Parse arguments of a command without a CONFIG, of which an option may name one, whose keys all others come before."""
    found: list[str] = list(arguments)
    moved: list[str] = []
    for place, source in reversed([*configs_in(arguments, option)]):
        path = find(kind, source)
        check_content(read(path), path, made.orders)
        moved = [option, str(path), *moved]
        found[place - (found[place] == source) : place + 1] = []
    hide_jsonargparse_extras(made)
    settings = made.parse_args([*moved, *found])
    settings.pop(option.removeprefix("--"), None)
    return settings


def hide_jsonargparse_extras(made: Parser) -> None:
    """Leave out of --help what jsonargparse adds to it for those who know it; all of it works nevertheless."""
    for action in actions_of(made):
        action.option_strings = [option for option in action.option_strings if not option.endswith("+")]
        if action.help == "Path to a configuration file." or action.dest.endswith(".help"):  # of a section, of a class
            action.help = SUPPRESS
    option_of(made, "--print_config").help = "print all keys with their values as YAML, to make a CONFIG of your own"


def usage(command: str, purpose: str) -> str:
    """Return what a command says when it is called without a CONFIG."""
    width = shutil.get_terminal_size().columns - 2
    purpose = with_examples(command, purpose)
    return (
        f"usage: oscine {command} CONFIG [--key.sub value ...]\n\n{paragraphs(purpose, width)}\n\n"
        f"CONFIG is a YAML file, or one that comes with oscine:\n{listed(command, width)}\n\n"
        f"oscine {command} CONFIG --help lists every key with its meaning and value."
    )
