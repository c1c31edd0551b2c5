"""Reach parts of jsonargparse's parsers without a public name: tested with 4.53.0, there in 4.52.0, too."""

from __future__ import annotations

from argparse import Action
from collections.abc import Iterable
from typing import Any

from jsonargparse import ArgumentParser


def actions_of(parser: ArgumentParser) -> list[Action]:
    """Return a parser's arguments, as argparse has them."""
    return parser._actions


def options_of(parser: ArgumentParser) -> Iterable[str]:
    """Return the options of a parser, each as it is written."""
    return parser._option_string_actions


def option_of(parser: ArgumentParser, option: str) -> Action:
    return parser._option_string_actions[option]


def type_of(action: Action) -> Any:
    """Return the type of an argument, also one that argparse could not say."""
    return getattr(action, "_typehint", action.type)


def hide_config_files(parser: ArgumentParser) -> None:
    """Leave the place of the default configuration out of --help."""
    place = parser._default_config_files_group
    parser._action_groups = [group for group in parser._action_groups if group is not place]
