"""Help begins with calls that work, and says what each configuration is and which to take first."""

from __future__ import annotations

import shlex

import pytest

from oscine.cli import COMMANDS, command_module
from oscine.cli.console import config
from oscine.cli.console.command import nearest, parser
from oscine.cli.console.examples import EXAMPLES
from oscine.cli.pretrain import pretrain
from oscine.cli.probe import probe
from oscine.models.errors import Misuse
from tests.cli.test_cli import TYPED, Left


def test_every_command_has_three_examples() -> None:
    for command in COMMANDS:
        calls = EXAMPLES[command]
        assert len(set(calls)) == (2 if command == "doctor" else 3)
        for call in calls:
            assert call.startswith(f"oscine {command}")
            assert len(call) <= 78, "it is one line of a narrow terminal"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_begins_with_its_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = Left([command, "--help"], capsys).out
    calls = "".join(f"  {call}\n" for call in EXAMPLES[command])
    before, found, _ = out.partition(f"\n\nexamples:\n{calls}\n")
    assert found
    assert before.startswith(f"usage: oscine {command}")
    assert before.count("\n\n") == 1, "one sentence comes before them"


@pytest.mark.parametrize("call", [call for command in TYPED if command != "compare" for call in EXAMPLES[command]])
def test_examples_of_functions_are_read(call: str) -> None:
    _, command, *arguments = shlex.split(call)
    parser(getattr(command_module(command), command)).parse_args(arguments)


@pytest.mark.parametrize("call", [call for command in ("pretrain", "probe") for call in EXAMPLES[command]])
def test_examples_of_configurations_are_read(call: str) -> None:
    _, kind, name, *arguments = shlex.split(call)
    path = config.find(kind, name)
    made = pretrain.parser if kind == "pretrain" else probe.parser
    config.parse(made(config.read(path)["method" if kind == "pretrain" else "probe"]), path, arguments)


@pytest.mark.parametrize("kind", ["pretrain", "probe"])
def test_what_to_take_first_stands_first_and_all_say_what_they_are(kind: str) -> None:
    lines = {name: config.first_line(config.find(kind, name)) for name in config.shipped(kind)}
    assert sum(line.startswith(config.FIRST) for line in lines.values()) == 1
    assert len(set(lines.values())) == len(lines)
    for name, line in lines.items():
        assert 20 < len(line) <= 80, name
        assert line.endswith("."), name
    shown = config.listed(kind, 400).splitlines()
    assert config.FIRST in shown[0]
    assert sorted(line.split(maxsplit=1)[0] for line in shown) == sorted(config.shipped(kind))
    assert all(lines[line.split(maxsplit=1)[0]] == line.split(maxsplit=1)[1] for line in shown)


def test_a_second_configuration_goes_behind_config_also_by_its_name() -> None:
    path = str(config.find("probe", "cgp"))
    assert config.added("probe", ["--config", "cgp", "--seed", "1"]) == ["--config", path, "--seed", "1"]
    assert config.added("probe", ["--config=cgp"]) == [f"--config={path}"]
    assert config.added("probe", ["--config", path]) == ["--config", path]
    assert config.added("probe", ["--config", "{name: x}", "--config"]) == ["--config", "{name: x}", "--config"]
    with pytest.raises(Misuse, match=r"not also 'mlp': a second one, .* goes behind --config: --config mlp"):
        config.added("probe", ["mlp", "--fit.lr", "1"])


OPTIONS = ["--fit", "--fit.lr", "--batch_size", "--fit.loss", "--fit.batch_size", "-h", "--help"]


@pytest.mark.parametrize(
    ("complaint", "expected"),
    [
        ("unrecognized arguments: --fit.lrr 1", "--fit.lr"),
        ("unrecognized arguments: --fit.lrr=1", "--fit.lr"),
        ("unrecognized arguments: lake --batchsize 3", "--batch_size"),
        ("unrecognized arguments: --bogus", ""),
        ("unrecognized arguments: --fit.bogus 3", ""),
        ("unrecognized arguments: --fits.loss 3", "--fit.loss"),
        ("unrecognized arguments: --lrr 3", "--fit.lr"),
        ("unrecognized arguments: --batch_sise 3", "--batch_size"),
        ("'fit' does not accept option 'lrr'", "fit.lr"),
        ("required: encoder", ""),
    ],
)
def test_the_option_that_was_meant_is_named_as_it_was_given(complaint: str, expected: str) -> None:
    assert nearest(complaint, OPTIONS) == expected
