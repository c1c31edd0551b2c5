"""What the configurations of fine-tuning hold, number by number as papers have it; and what --finetune means beside them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from oscine.cli import dispatch
from oscine.cli.console import config
from oscine.cli.probe.probe import fine_tuned, parse, settings_of
from oscine.models.errors import Misuse
from oscine.probe.run.settings import ProbeRunSettings

# arXiv 2602.16305, by its authors' configurations: what holds of all, then of each task.
BAT = {
    "fit.lr": 5e-5, "fit.weight_decay": 0.05, "fit.beta2": 0.95, "fit.clip": None, "tuning.layer_decay": 0.75,
    "tuning.drop_path": 0.1, "tuning.noise_snr": (5.0, 25.0), "tuning.loudness": False, "tuning.gain": 0.0,
    "tuning.mix": 0.0, "tuning.freq_mask": 16, "head.pool": "cls", "head.norm": "layer",
}  # fmt: skip
NAMES = (
    "fit.steps", "fit.warmup", "fit.batch_size", "head.dropout", "fit.loss", "fit.select_every", "fit.balanced",
    "tuning.mixup", "tuning.noise", "tuning.hiss", "tuning.masks", "tuning.time_mask",
)  # fmt: skip
BAT_TASKS: dict[str, tuple[Any, ...]] = {
    "audioset_20k": (40_000, 4_000, 48, 0.2, "asymmetric_bat", None, False, 0.9, 0.0, 0.0, 2, 64),
    "audioset_2m": (200_000, 20_000, 96, 0.2, "asymmetric_bat", None, True, 0.9, 0.0, 0.0, 2, 64),
    "esc50": (4_000, 400, 48, 0.2, "cross_entropy", None, False, 0.0, 0.3, 0.0, 1, 32),
    "speech_commands": (10_000, 1_000, 256, 0.0, "cross_entropy", 500, False, 0.0, 0.3, 0.0, 1, 32),
    "hsn": (10_000, 1_000, 64, 0.0, "binary_cross_entropy", None, True, 0.0, 0.3, 0.02, 1, 32),
}
# arXiv 2504.12880, by its authors' configurations.
BIRD_MAE = {
    "fit.lr": 3e-4, "fit.weight_decay": 3e-4, "fit.beta2": 0.95, "fit.clip": 2.0, "fit.loss": "asymmetric_bird_mae",
    "fit.batch_size": 128, "fit.select_every": None, "tuning.layer_decay": 0.75, "tuning.drop_path": 0.1,
    "tuning.mix": 0.9, "tuning.mixup": 0.0, "tuning.noise": 0.2, "tuning.noise_snr": (3.0, 30.0), "tuning.hiss": 0.0,
    "tuning.loudness": True, "tuning.gain": 0.2, "tuning.masks": 0.3, "tuning.time_mask": 100, "tuning.freq_mask": 50,
    "head.prototypes_per_class": 20, "head.prototype_lr": 0.04,
}  # fmt: skip
CALL = ["--encoder", "bat_tiny", "--table", "labels.csv"]


def read(name: str, *arguments: str) -> ProbeRunSettings:
    """The settings of a call of the command."""
    path = config.find("probe", name)
    content = config.read(path)
    return settings_of(parse(path, content, config.added("probe", [*CALL, *arguments])))


def flat(settings: ProbeRunSettings) -> dict[str, Any]:
    """The same by dotted names, with the warm-up in steps."""
    sections = {"head": settings.head, "fit": vars(settings.fit), "tuning": vars(settings.tuning)}
    found = {f"{section}.{key}": value for section, table in sections.items() for key, value in table.items()}
    return found | {
        "tuning.noise_snr": tuple(settings.tuning.noise_snr),
        "fit.warmup": settings.fit.warmup_steps,
    }


@pytest.mark.parametrize("task", BAT_TASKS)
def test_bat_is_fine_tuned_as_its_paper_says_of_each_task(task: str) -> None:
    settings = read(f"finetune/bat_{task}")
    assert (settings.finetune, settings.task.name, settings.probe) == (True, task, "LinearProbe")
    found, expected = flat(settings), BAT | dict(zip(NAMES, BAT_TASKS[task], strict=True))
    assert {name: found[name] for name in expected} == expected


def test_bird_mae_is_fine_tuned_as_its_paper_says() -> None:
    found = flat(read("finetune/bird_mae"))
    assert {name: found[name] for name in BIRD_MAE} == BIRD_MAE
    few = read("finetune/bird_mae_few_shot")
    assert few.task.shots == [1, 5, 10]
    assert {name: flat(few)[name] for name in BIRD_MAE} == BIRD_MAE | {"fit.lr": 4e-4, "fit.batch_size": 64}


def test_clips_of_ones_own_are_fine_tuned_with_what_bats_paper_has_of_all_tasks() -> None:
    settings = read("finetune/bat")
    assert settings.finetune
    assert {name: flat(settings)[name] for name in BAT} == BAT


@pytest.mark.parametrize("name", [name for name in config.shipped("probe") if name.startswith("finetune/")])
def test_two_files_of_the_same_bytes_fine_tune_the_same(name: str, tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_bytes(config.find("probe", name).read_bytes())
    assert read(str(own)) == read(name)


def test_what_is_given_on_the_command_line_stands() -> None:
    found = flat(read("finetune/bat_hsn", "--tuning.masks=3", "--fit.lr", "1e-3", "--head.dropout", "0.4"))
    assert (found["tuning.masks"], found["fit.lr"], found["head.dropout"]) == (3, 1e-3, 0.4)
    assert (found["tuning.time_mask"], found["fit.beta2"]) == (32, 0.95)


def test_a_section_tuning_asks_for_it_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    content = {"name": "own", "probe": "LinearProbe", "tuning": {"noise": 0.1}}
    for said, expected in (({}, True), ({"finetune": True}, True), ({"finetune": False}, False)):
        own.write_text(yaml.safe_dump(content | said))
        settings = read(str(own))
        assert (settings.finetune, settings.tuning.noise) == (expected, 0.1)


def test_what_is_printed_as_a_config_is_what_would_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, tuned in (("linear", False), ("finetune/bat", True)):
        with pytest.raises(SystemExit):
            read(name, "--print_config")
        printed = tmp_path / "printed.yaml"
        printed.write_text(capsys.readouterr().out)
        assert read(str(printed)) == read(name)
        assert read(name).finetune is tuned


@pytest.mark.parametrize(
    ("name", "meant"),
    [("hsn_prototypical", "finetune/bird_mae"), ("esc50_cgp", "finetune/bat_esc50"), ("linear", "finetune/bat, or ")],
)
def test_the_flag_with_a_config_for_frozen_encoders_names_the_file_to_call(
    name: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch(["probe", name, *CALL, "--finetune"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"oscine probe: {name} is for a frozen encoder; to fine-tune, call a CONFIG of its own: ")
    assert f"oscine probe {meant}" in said
    assert said.count("\n") == 1


def tuned(name: str, *arguments: str) -> ProbeRunSettings:
    """The settings of a call with --finetune and a CONFIG that does not ask for it."""
    content = config.read(config.find("probe", name))
    return fine_tuned(name, content, [*CALL, *arguments], read(name, *arguments))


def test_the_flag_with_a_config_of_ones_own_takes_its_numbers_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    own = tmp_path / "own.yaml"
    own.write_text(config.find("probe", "linear").read_text())
    assert tuned(str(own), "--finetune") == read(str(own), "--finetune")
    assert caplog.messages == [f"fine-tuning with the numbers of {own}"]


@pytest.mark.parametrize("name", ["linear", "own"])
def test_a_fine_tuning_that_was_begun_before_there_were_such_files_goes_on_with_its_numbers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs of the commit before had written down: with a CONFIG that comes with oscine, and with one's own."""
    begun = (Path(__file__).parent / "begun" / f"{name}.json").read_text()
    monkeypatch.chdir(tmp_path)
    states = Path("runs/probe", name, "states")
    states.mkdir(parents=True)
    (states / "settings.json").write_text(begun)
    Path("own.yaml").write_text("name: own\nprobe: LinearProbe\nfit:\n  steps: 4000\n  lr: 1.0e-3\n")
    called = name if name == "linear" else "own.yaml"
    facts = {key: value for key, value in json.loads(begun).items() if key.startswith(("fit.", "head.", "tuning."))}
    found = tuned(called, "--finetune", "--resume").as_dict()
    assert {key: found[key.partition(".")[0]][key.partition(".")[2]] for key in facts} == facts | {
        "tuning.noise_snr": [5.0, 25.0]
    }
    other = tuned(called, "--finetune", "--resume", "--fit.lr", "0.5")
    assert (other.fit.lr, other.fit.beta2) == (0.5, 0.95), (
        "what is given stands, and is refused as not what it began with"
    )
    shutil.rmtree(states)
    if name == "linear":
        with pytest.raises(Misuse, match="linear is for a frozen encoder"):
            tuned("linear", "--finetune", "--resume")


def test_a_configuration_that_is_added_may_ask_for_it_too(tmp_path: Path) -> None:
    assert read("linear", "--config", "finetune/bat").finetune
    assert not read("finetune/bat", "--config", '{"finetune": false}').finetune
    assert read("finetune/bat", "--config", "linear").finetune is not False


def test_a_configuration_is_called_by_its_whole_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["probe", "finetune/bat", *CALL, "--stps", "3"]) == 2
    assert "oscine probe finetune/bat --help lists what it takes" in capsys.readouterr().err
    assert dispatch(["probe", "bat_hsn", *CALL]) == 2
    assert "did you mean finetune/bat_hsn?" in capsys.readouterr().err
