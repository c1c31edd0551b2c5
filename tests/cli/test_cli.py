"""The front door: every command explains itself, and what does not fit is said in one line and by the exit code."""

from __future__ import annotations

import errno
import inspect
import io
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import soundfile
import yaml

import oscine
from oscine.cli import COMMANDS, Lines, command_module, dispatch, main
from oscine.cli.console.command import call
from oscine.cli.console.config import find, shipped
from oscine.cli.console.output import progress_bar
from oscine.models.checkpoints import ARCHITECTURES, PUBLISHED
from oscine.models.errors import Misuse, OscineError

TYPED = [
    "quickstart",
    "chorus",
    "models",
    "embed",
    "predict",
    "export",
    "compare",
    "convert",
]  # their arguments are a function's


class Left:
    """How a command was left: its exit code and what it said."""

    def __init__(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        self.code = left.value.code
        self.out, self.err = capsys.readouterr()

    def complaint(self, code: int = 2) -> str:
        """The one line that it left with."""
        assert self.code == code
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("oscine")
        return self.err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_front_door_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    left = Left(arguments, capsys)
    assert left.code == 0
    assert left.err == ""
    for name, purpose in COMMANDS.items():
        assert f"  {name} " in left.out
        assert purpose in left.out


def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    left = Left(["--version"], capsys)
    assert (left.code, left.out) == (0, f"oscine {oscine.__version__}\n")


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "oscine", "sing"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"oscine: no command 'sing'; there are {', '.join(COMMANDS)}\n"


@pytest.mark.parametrize("name", TYPED)
def test_help_explains_every_argument_of_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    left = Left([name, "--help"], capsys)
    function = getattr(command_module(name), name)
    assert left.code == 0
    assert f"usage: oscine {name}" in left.out
    assert inspect.getdoc(function).splitlines()[0] in " ".join(left.out.split())  # type: ignore[union-attr]
    for parameter in inspect.signature(function).parameters.values():
        positional = parameter.kind is parameter.POSITIONAL_ONLY
        assert f"  {parameter.name.upper()} " if positional else f"--{parameter.name.replace('_', '-')}" in left.out


@pytest.mark.parametrize("command", ["pretrain", "probe"])
@pytest.mark.parametrize("arguments", [["--help"], []])
def test_without_a_config_the_shipped_ones_are_named(
    command: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    left = Left([command, *arguments], capsys)
    assert left.code == (0 if arguments else 2)
    assert all(f"\n  {name} " in left.out for name in shipped(command))


@pytest.mark.parametrize(
    ("command", "name"), [(command, name) for command in ("pretrain", "probe") for name in shipped(command)]
)
def test_help_of_a_config_shows_every_key_with_its_value(
    command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Left([command, name, "--help"], capsys)
    assert left.code == 0
    text = " ".join(left.out.split())
    for key, value in yaml.safe_load(find(command, name).read_text()).items():
        for option, given in [(f"{key}.{sub}", it) for sub, it in value.items()] if isinstance(value, dict) else []:
            if key == "encoder":  # one option, whose value holds them all
                assert f"'{option.partition('.')[2]}': {given!r}" in text
            else:
                _, _, rest = text.rpartition(f"--{option} ")  # the purpose may speak of it, too
                shown = re.split(r"\)|, known subclasses", rest.partition("default: ")[2])[0]
                assert yaml.safe_load(shown) == given or float(shown) == given, option
        assert f"--{key}" in text


@pytest.mark.parametrize(
    "command",
    [*([name] for name in COMMANDS), *([kind, name] for kind in ("pretrain", "probe") for name in shipped(kind))],
)
def test_help_is_words_that_fit_a_terminal(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = Left([*command, "--help"], capsys).out
    assert max(map(len, out.splitlines())) <= 80
    for alien in ("type:", "class '", "Optional[", "Union[", "| None", ".yaml", ".help"):
        assert alien not in out


def test_the_name_of_a_config_is_as_it_was_given(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_bytes(find("probe", "cgp").read_bytes())
    assert Left(["probe", "cgp", "--help"], capsys).out.startswith("usage: oscine probe cgp [--key.sub value ...]\n")
    assert Left(["probe", "mine.yaml", "--help"], capsys).out.startswith("usage: oscine probe mine.yaml [--key.sub ")
    assert "; oscine probe mine.yaml --help lists" in Left(["probe", "mine.yaml", "--fit.lr", "x"], capsys).complaint()


def test_an_unknown_command_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no command 'sing'; there are quickstart, doctor, models" in Left(["sing"], capsys).complaint()


@pytest.mark.parametrize("command", [*(["probe", "linear"], ["pretrain", "bat_tiny"]), *([name] for name in TYPED)])
def test_an_unknown_option_is_named(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--bogus" in Left([*command, "--bogus"], capsys).complaint()


def test_a_missing_argument_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    complaint = Left(["embed", "."], capsys).complaint()
    assert "required: out" in complaint
    assert "oscine embed --help" in complaint


def test_an_error_that_can_be_mended_is_one_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> None:
        raise OscineError("the owl is asleep; come back at night")

    monkeypatch.setattr("oscine.cli.encode.models.main", fail, raising=False)
    complaint = Left(["models"], capsys).complaint(code=1)
    assert complaint == "oscine models: the owl is asleep; come back at night\n"
    monkeypatch.setenv("OSCINE_TRACEBACK", "1")
    with pytest.raises(OscineError):
        dispatch(["models"])


def test_a_name_in_an_error_or_a_warning_steers_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        dispatch(["probe", "linear", "--encoder", "bird_mae_tiny", "--table", str(tmp_path / "\x1b]0;t\x07.csv")]) == 1
    )
    said = capsys.readouterr().err
    assert "\\x1b]0;t\\x07.csv" in said
    assert "\x1b" not in said
    record = logging.LogRecord("oscine", logging.WARNING, "", 0, "%s: one\nline", ("\x1b[2J",), None)
    assert Lines().format(record) == "WARNING \\x1b[2J: one\nline"


def test_an_interrupted_command_says_that_it_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("oscine.cli.encode.models.main", interrupt, raising=False)
    assert Left(["models"], capsys).complaint(code=130) == "oscine models: stopped\n"


def test_a_terminated_command_does_what_an_interrupted_one_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(arguments: list[str]) -> None:
        child = os.fork()
        os.kill(child or os.getpid(), signal.SIGTERM)
        if not child:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143, (
            "a process that was forked ends, and says nothing"
        )
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("oscine.cli.encode.models.main", wait, raising=False)
    assert Left(["models"], capsys).complaint(code=143) == "oscine models: stopped\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_who_listens_to_sigterm_itself_ends_in_its_own_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = []

    def train(arguments: list[str]) -> None:
        ours = signal.getsignal(signal.SIGTERM)

        def hear(number: int, frame: FrameType | None) -> None:
            assert callable(ours)
            ours(number, frame)
            steps.append("heard")

        signal.signal(signal.SIGTERM, hear)
        os.kill(os.getpid(), signal.SIGTERM)
        steps.append("the step's end")
        raise KeyboardInterrupt

    monkeypatch.setattr("oscine.cli.encode.models.main", train, raising=False)
    assert Left(["models"], capsys).complaint(code=143) == "oscine models: stopped\n"
    assert steps == ["heard", "the step's end"]


def listen(folder: Path, /, rate: int, name: str = "owl", hop_length: float | None = None, loud: bool = False) -> int:
    """Listen.

    Args:
        folder: where.
        rate: how fast.
        name: to whom.
        hop_length: how far.
        loud: how loud.
    """
    heard.append((folder, rate, name, hop_length, loud))
    return 7


heard: list[tuple[Path, int, str, float | None, bool]] = []


def test_a_function_gets_its_arguments_with_their_types() -> None:
    heard.clear()
    assert call(listen, ["wood", "--rate", "3"]) == 7
    assert call(listen, ["--hop-length", "2", "--rate=4", "--loud", "--name", "5", "wood"]) == 7
    assert heard == [(Path("wood"), 3, "owl", None, False), (Path("wood"), 4, "5", 2.0, True)]
    assert isinstance(heard[1][3], float)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["wood"], "required: rate"),
        (["--rate", "3"], "required: folder"),
        (["wood", "--rate", "fast"], '"rate": Expected a whole number. Got value: fast'),
        (["wood", "--rate", "3", "--hop-length", "far"], '"hop_length": Expected a number Given value: far'),
        (["wood", "--rate", "3", "lake"], "unrecognized arguments: lake"),
    ],
)
def test_what_does_not_fit_a_function_is_said_in_one_line(arguments: list[str], complaint: str) -> None:
    with pytest.raises(Misuse, match=complaint) as error:
        call(listen, arguments)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("; oscine listen --help lists what it takes")


def test_models_lists_every_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    left = Left(["models"], capsys)
    assert left.code == 0
    rows = [line.split() for line in left.out.splitlines()]
    assert {row[0] for row in rows if row and row[0] in ARCHITECTURES} == set(ARCHITECTURES)
    (bat_base,) = (row for row in rows if row and row[0] == "bat_base")
    assert bat_base[1:5] == ["92.7", "M", "768", "12"]


def test_the_table_of_models_is_cut_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = Left(["models"], capsys).out
    monkeypatch.setenv("COLUMNS", "40")
    assert Left(["models"], capsys).out == wide
    assert max(map(len, wide.splitlines())) <= 100
    assert {row.name for row in PUBLISHED} <= {line.split(" ")[0] for line in wide.splitlines()}


def test_models_can_be_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    out = Left(["models", "*tiny"], capsys).out
    assert "bat_tiny" in out
    assert "bird_mae_tiny" in out
    assert "base" not in out
    left = Left(["models", "crow*"], capsys)
    assert left.code == 0
    assert left.out.startswith(
        "no model matches 'crow*'; oscine models lists all\nFor birds begin with convnext_base.xcl"
    )


def test_a_word_finds_the_models_that_hold_it_and_a_whole_name_its_weights(capsys: pytest.CaptureFixture[str]) -> None:
    def first_words(*arguments: str) -> set[str]:
        return {line.partition(" ")[0] for line in Left(["models", *arguments], capsys).out.splitlines()}

    known = {*ARCHITECTURES, *(row.name for row in PUBLISHED)}
    hubert = {name for name in known if "hubert" in name}
    assert first_words("HuBERT") & known == hubert
    assert len(hubert) >= 4
    assert first_words("hubert_base.ls960") & known == {"hubert_base", "hubert_base.ls960"}
    assert first_words("hubert", "--pretrained") & known == set()  # a file each, no repository


def test_it_is_said_what_classifiers_call_their_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--classes FILE lists them: perch_v2 has scientific names.\n" in Left(["models", "perch_v2"], capsys).out
    every = " ".join(Left(["models"], capsys).out.split())
    assert "birdnet_v3 has scientific names; convnext_base has eBird's codes, such as eurrob1 for" in every
    assert "--classes" not in Left(["models", "bat"], capsys).out


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in; where runs would be written."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.mark.parametrize(("command", "name"), [("pretrain", "bird_mae_base"), ("probe", "cgp")])
def test_an_unknown_config_names_the_shipped_ones(
    command: str, name: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complaint = Left([command, "nosuch"], capsys).complaint()
    assert "no configuration 'nosuch': expected a YAML file or one of" in complaint
    assert name in complaint
    Path("mine.yaml").touch()
    assert "no configuration 'mien.yaml': did you mean mine.yaml? " in Left([command, "mien.yaml"], capsys).complaint()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"method: [BATPretraining", "mine.yaml is no YAML: .*expected ',' or ']'"),
        (b"\xff\xfe\x00", "mine.yaml is no YAML"),
        (b"- a\n- b\n", "mine.yaml holds list, expected keys with values"),
        (b"", "mine.yaml holds nothing, expected keys with values"),
        (b"name: x\n", "mine.yaml has method None; expected one of BATPretraining, BirdMAEPretraining"),
        (b"method: MAE\n", "mine.yaml has method 'MAE'; expected one of BATPretraining, BirdMAEPretraining"),
        (b"name: x\nmethod: BATPretraining\n", "required: encoder"),
        (
            b"name: x\nmethod: BATPretraining\nrecipe: {viewz: 3}\n",
            "'recipe' does not accept option 'viewz'; did you mean recipe.views\\?",
        ),
        (b"name: x\nmethod: BATPretraining\nrecipes: {views: 3}\n", "'recipes.*' is not accepted"),
        (
            b"name: x\nmethod: BATPretraining\nrecipe: {views: many}\n",
            '"recipe.views": Expected a whole number. Got value: many',
        ),
    ],
)
def test_a_yaml_that_does_not_fit_is_told_so(
    content: bytes, complaint: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.yaml").write_bytes(content)
    left = Left(["pretrain", "mine.yaml", "--data.recordings", "."], capsys)
    assert re.search(complaint, left.complaint()), left.err
    assert not runs.exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--recipe.viewz", "3"], "unrecognized arguments: --recipe.viewz 3"),
        (["--recipe.steps", "abc"], '"recipe.steps": Expected a whole number. Got value: abc'),
        (["--method", "BirdMAEPretraining"], "--method: invalid choice: 'BirdMAEPretraining'"),
        (["--trainer.precision", "7"], '"trainer.precision": .*bf16-mixed.* Given value: 7'),
        (
            ["--config", "nosuch.yaml"],
            "no configuration 'nosuch.yaml': expected a YAML file or one of audiomosaic_base",
        ),
        (["--config", "bat_tyni"], "no configuration 'bat_tyni': did you mean bat_tiny"),
        (["--config=bird_mae_tiny"], "'BirdMAEPretraining' not among choices"),
        (["--recipe.maskratio", "0.9"], "--recipe.maskratio 0.9; did you mean --recipe.mask_ratio\\? oscine pretrain"),
        (["--recipe.zzz=1"], "arguments: --recipe.zzz=1; oscine pretrain"),
        (["--resume", "--overwrite"], "--resume goes on with a run and --overwrite deletes it"),
    ],
)
def test_an_override_that_does_not_fit_is_told_so(
    arguments: list[str], complaint: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Left(["pretrain", "bat_tiny", "--data.recordings", ".", *arguments], capsys)
    assert re.search(complaint, left.complaint()), left.err
    assert not runs.exists()


def test_recordings_are_asked_for(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "required: data.recordings" in Left(["pretrain", "bat_tiny"], capsys).complaint()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data.recordings", "empty"], "no recordings in empty; looked for"),
        (["--data.recordings", "nowhere"], "no folder nowhere; check the path"),
        (["--data.recordings", "sound", "--encoder.feathers", "3"], "BAT has no setting feathers; it has dim, depth"),
        (["--data.recordings", "sound", "--encoder.name", "bat_tyni"], "no model 'bat_tyni'; did you mean 'bat_tiny'?"),
        (["--data.recordings", "sound", "--trainer.accelerator", "abacus"], "no such Trainer: You selected an invalid"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_cannot_begin_leaves_everything_as_it_was(
    arguments: list[str], complaint: str, overwrite: bool, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    Path("sound").mkdir()
    soundfile.write("sound/tone.wav", np.zeros(1600), 16_000)
    earlier = runs / "bat_tiny" / "encoder" / "model.safetensors"
    if overwrite:
        earlier.parent.mkdir(parents=True)
        earlier.touch()
        (runs / "bat_tiny" / "settings.yaml").write_text("method: BATPretraining\nencoder: {}\nrecipe: {}\n")
    left = Left(["pretrain", "bat_tiny", *arguments, *["--overwrite"] * overwrite], capsys)
    assert complaint in left.complaint(code=1)
    assert runs.exists() == earlier.exists() == overwrite


def test_what_an_output_cannot_write_is_escaped():
    """In a pipe on Windows, output is in an old code page, which lacks most letters."""
    program = (
        "import oscine.cli as cli; cli.dispatch = lambda arguments: print('\u00b1 \u2265 \u0141') or 0; cli.main([])"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True, timeout=60)
    assert done.stdout.strip() == b"\xb1 \\u2265 \\u0141"


def test_a_run_whose_name_no_folder_can_have_everywhere_is_refused(tmp_path, capsys):
    for command in ("pretrain", "bat_tiny", "--data.recordings", "."), ("probe", "linear", "--encoder", "bat_tiny"):
        assert dispatch([*command, "--runs", str(tmp_path), "--name", "site:1"]) == 1
        assert "the name 'site:1' is for a folder, and on Windows no ':' may stand in one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_closed_terminal_does_what_sigterm_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(arguments: list[str]) -> None:
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGHUP)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, (
            "what was forked goes on until its parent ends it"
        )
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(60)

    before = signal.getsignal(signal.SIGHUP)
    monkeypatch.setattr("oscine.cli.encode.models.main", wait, raising=False)
    assert Left(["models"], capsys).complaint(code=129) == "oscine models: stopped\n"
    assert signal.getsignal(signal.SIGHUP) == before


def test_under_nohup_a_closed_terminal_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("oscine.cli.encode.models.main", lambda _: os.kill(os.getpid(), signal.SIGHUP), raising=False)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert Left(["models"], capsys).code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nothing_is_lost_where_the_terminal_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said to a terminal that was closed is an error of the system, and no reason to leave the work."""

    class Terminal(io.StringIO):
        gone = False

        def write(self, text: str) -> int:
            if self.gone:
                raise OSError(errno.EIO, "the terminal is gone")
            return len(text)

        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar() as bar:
        terminal.gone = True
        bar.say("half way")
    with pytest.raises(SystemExit) as left:
        main(["nothing", "of", "the", "kind"])
    assert left.value.code == 2


@pytest.mark.skipif(os.name == "nt", reason="has no pipes that tell")
@pytest.mark.parametrize("command", ["models", "doctor --help", "--help"])
def test_whoever_reads_no_further_gets_no_traceback(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does once it has its lines
    ran = subprocess.run(
        [sys.executable, "-m", "oscine", *command.split()], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert ran.stderr == ""
    assert ran.returncode in (0, 141)  # nothing was written yet, or as much as the pipe took
