"""`oscine label` names its steps, and each explains itself."""

from __future__ import annotations

import importlib
import inspect
import shlex
from collections.abc import Callable

import pytest

from oscine.cli.console.command import parser
from oscine.cli.console.examples import EXAMPLES
from oscine.cli.probe.label import STEPS
from tests.cli.test_cli import Left

TYPED = ("page", "suggest", "read", "combine")  # their arguments are a function's


def step_function(step: str) -> Callable[..., int | None]:
    return getattr(importlib.import_module(f"oscine.cli.label.{step}"), step)


def test_without_a_step_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    asked, bare = Left(["label", "--help"], capsys), Left(["label"], capsys)
    assert (asked.code, bare.code) == (0, 2)
    assert asked.out == bare.out
    for step, purpose in STEPS.items():
        assert f"\n  {step} " in asked.out
        assert purpose in asked.out


def test_a_misspelt_step_is_told_which_one_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no step 'pgae'; did you mean page?" in Left(["label", "pgae"], capsys).complaint()


@pytest.mark.parametrize("step", STEPS)
def test_a_step_explains_every_argument_in_words(
    step: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    left = Left(["label", step, "--help"], capsys)
    assert left.code == 0
    assert left.out.startswith(f"usage: oscine label {step}")
    assert max(map(len, left.out.splitlines())) <= 80


@pytest.mark.parametrize("step", TYPED)
def test_a_step_explains_all_that_its_function_takes(step: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = Left(["label", step, "--help"], capsys).out
    for parameter in inspect.signature(step_function(step)).parameters.values():
        positional = parameter.kind is parameter.POSITIONAL_ONLY
        assert (f"  {parameter.name.upper()} " if positional else f"--{parameter.name.replace('_', '-')}") in out


@pytest.mark.parametrize("call", [call for step in ("", *TYPED) for call in EXAMPLES.get(f"label {step}".strip(), ())])
def test_examples_are_read(call: str) -> None:
    _, _, step, *arguments = shlex.split(call)
    if step in TYPED:
        parser(step_function(step), f"label {step}").parse_args(arguments)
