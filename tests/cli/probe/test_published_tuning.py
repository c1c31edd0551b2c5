"""What is fine-tuned with: a paper's column, number by number, below whatever somebody has said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from oscine.cli.console import config
from oscine.cli.probe.probe import parse
from oscine.cli.probe.published_tuning import MAES, is_mae
from oscine.models import create_model, save_pretrained
from oscine.models.encoders.base.mae import MAE
from oscine.models.errors import Misuse
from oscine.models.hub.folder import ENCODERS
from oscine.models.warmup import warmup_steps

# arXiv 2602.16305, by its authors' configurations: what holds of all, then of each task.
BAT = {
    "fit.lr": 5e-5, "fit.weight_decay": 0.05, "fit.beta2": 0.95, "fit.clip": None, "tuning.layer_decay": 0.75,
    "tuning.drop_path": 0.1, "tuning.noise_snr": (5.0, 25.0), "tuning.loudness": False, "tuning.gain": 0.0,
    "tuning.mix": 0.0, "tuning.freq_mask": 16, "head.prototypes": 10_000,
}  # fmt: skip
NAMES = (
    "fit.steps", "fit.warmup", "fit.batch_size", "head.dropout", "fit.loss", "fit.select_every", "fit.balanced",
    "tuning.mixup", "tuning.noise", "tuning.hiss", "tuning.masks", "tuning.time_mask",
)  # fmt: skip
BAT_TASKS: dict[tuple[str, ...], tuple[Any, ...]] = {
    ("audioset_20k_cgp",): (40_000, 4_000, 48, 0.2, "asymmetric_bat", None, False, 0.9, 0.0, 0.0, 2, 64),
    ("audioset_20k_cgp", "--task.name", "audioset_2m"): (
        200_000, 20_000, 96, 0.2, "asymmetric_bat", None, True, 0.9, 0.0, 0.0, 2, 64,
    ),
    ("esc50_cgp",): (4_000, 400, 48, 0.2, "cross_entropy", None, False, 0.0, 0.3, 0.0, 1, 32),
    ("speech_commands_cgp",): (10_000, 1_000, 256, 0.0, "cross_entropy", 500, False, 0.0, 0.3, 0.0, 1, 32),
    ("hsn_cgp",): (10_000, 1_000, 64, 0.0, "binary_cross_entropy", None, True, 0.0, 0.3, 0.02, 1, 32),
}  # fmt: skip
# arXiv 2504.12880, by its authors' configurations.
BIRD_MAE = {
    "fit.lr": 3e-4, "fit.weight_decay": 3e-4, "fit.beta2": 0.95, "fit.clip": 2.0, "fit.loss": "asymmetric_bird_mae",
    "fit.batch_size": 128, "fit.select_every": None, "tuning.layer_decay": 0.75, "tuning.drop_path": 0.1,
    "tuning.mix": 0.9, "tuning.mixup": 0.0, "tuning.noise": 0.2, "tuning.noise_snr": (3.0, 30.0), "tuning.hiss": 0.0,
    "tuning.loudness": True, "tuning.gain": 0.2, "tuning.masks": 0.3, "tuning.time_mask": 100, "tuning.freq_mask": 50,
    "head.prototypes_per_class": 20, "head.prototype_lr": 0.04,
}  # fmt: skip
CLIPS = ["--table", "labels.csv"]


def read(name: str, *arguments: str) -> dict[str, Any]:
    """What a call of the command would fine-tune with, by dotted names."""
    path = config.find("probe", name)
    content = config.read(path)
    settings = parse(content["probe"], path, content, [name, *arguments])
    sections = {section: settings[section].as_dict() for section in ("task", "head", "fit", "tuning")}
    flat = {f"{section}.{key}": value for section, table in sections.items() for key, value in table.items()}
    snr = flat["tuning.noise_snr"]
    warmup = warmup_steps(flat["fit.warmup"], flat["fit.steps"], "fit")
    return flat | {"tuning.noise_snr": tuple(snr), "fit.warmup": warmup}


@pytest.mark.parametrize("call", BAT_TASKS, ids=" ".join)
def test_bat_is_fine_tuned_as_its_paper_says_of_each_task(call: tuple[str, ...]) -> None:
    found = read(*call, "--encoder", "bat_base.as2m", "--finetune")
    expected = BAT | dict(zip(NAMES, BAT_TASKS[call], strict=True))
    assert {name: found[name] for name in expected} == expected


def test_bird_mae_is_fine_tuned_as_its_paper_says() -> None:
    found = read("hsn_prototypical", "--encoder", "bird_mae_large.xcl", "--finetune")
    assert {name: found[name] for name in BIRD_MAE} == BIRD_MAE
    few = read("hsn_few_shot_prototypical", "--encoder", "bird_mae_large.xcl", "--finetune")
    assert {name: few[name] for name in BIRD_MAE} == BIRD_MAE | {"fit.lr": 4e-4, "fit.batch_size": 64}


def test_without_finetune_a_config_is_as_it_stands() -> None:
    given = config.read(config.find("probe", "hsn_cgp"))
    found = read("hsn_cgp", "--encoder", "bat_base")
    fit = given["fit"] | {"warmup": 1_000}
    assert {name[4:]: value for name, value in found.items() if name.startswith("fit.")} == fit
    assert found["head.dropout"] == 0.2


@pytest.mark.parametrize("flag", ["argument", "config"])
def test_a_config_that_is_added_may_name_the_encoder_or_ask_for_it(flag: str, tmp_path: Path) -> None:
    added = tmp_path / "added.yaml"
    asked = {"finetune": True} if flag == "config" else {}
    added.write_text(yaml.safe_dump({"encoder": "bird_mae_tiny", "tuning": {"noise": 0.7}} | asked))
    found = read("linear", "--config", str(added), *CLIPS, *([] if asked else ["--finetune"]))
    assert (found["fit.lr"], found["tuning.mix"], found["tuning.noise"]) == (3e-4, 0.9, 0.7)


def test_what_is_given_on_the_command_line_stands(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--tuning.masks=3", "--fit.lr", "1e-3", "--head.dropout", "0.4"]
    found = read("hsn_cgp", "--encoder", "bat_base", "--finetune", *given)
    assert (found["tuning.masks"], found["fit.lr"], found["head.dropout"]) == (3, 1e-3, 0.4)
    assert (found["tuning.time_mask"], found["fit.beta2"]) == (32, 0.95)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "as in arXiv 2602.16305: " in said
    assert "fit.beta2 0.95, fit.clip null" in said
    assert not any(name in said for name in ("fit.lr", "tuning.masks", "head.dropout"))


def test_a_config_of_ones_own_stands_and_what_it_leaves_open_is_filled_in(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        yaml.safe_dump(
            {"name": "own", "probe": "LinearProbe", "encoder": "bat_tiny", "finetune": True, "fit": {"lr": 1e-3}}
            | {"tuning": {"noise": 0.1}}
        )
    )
    found = read(str(own), *CLIPS)
    assert (found["fit.lr"], found["tuning.noise"]) == (1e-3, 0.1)
    assert (found["fit.beta2"], found["tuning.masks"], found["tuning.noise_snr"]) == (0.95, 1, (5.0, 25.0))


def test_what_is_printed_as_a_config_is_what_would_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    for call in (["--encoder", "bird_mae_tiny", "--finetune"], []):
        with pytest.raises(SystemExit):
            read("linear", *call, "--print_config")
    first, _, second = capsys.readouterr().out.partition("name: linear")[2].partition("name: linear")
    assert (yaml.safe_load(first)["fit"]["lr"], yaml.safe_load(first)["tuning"]["mix"]) == (3e-4, 0.9)
    frozen = yaml.safe_load(second)
    assert (frozen["fit"]["lr"], frozen["fit"]["beta2"], frozen["tuning"]["mix"]) == (3e-4, 0.999, 0.0)


def test_a_table_of_ones_own_has_no_published_steps() -> None:
    found = read("hsn_cgp", "--encoder", "bat_base", "--finetune", *CLIPS, "--fit.steps", "100", "--fit.warmup", "10")
    assert (found["tuning.hiss"], found["head.dropout"], found["tuning.noise"]) == (0.0, 0.2, 0.3)


def test_the_encoders_of_bird_maes_kind_are_those_that_are_built_on_its_class() -> None:
    assert {name for name, kind in ENCODERS.items() if issubclass(kind, MAE)} == set(MAES)


def test_the_family_of_an_encoder_is_known_without_its_weights(tmp_path: Path) -> None:
    names = {
        "bird_mae_huge.xcl": True, "audio_mae_base": True, "bat_tiny": False, "eat_base.as2m": False, "nonsense": False,
        "hf-hub:DBD-research-group/Bird-MAE-Base": True, "hf-hub:lrauch/BAT-vit-b16-pretrainedAS2M@main": False,
        "local-dir:nowhere": False,
    }  # fmt: skip
    assert {name: is_mae(name) for name in names} == names
    for name, kind in (("bird_mae_tiny", True), ("bat_tiny", False)):
        folder = save_pretrained(create_model(name, dim=24, depth=1, heads=2), tmp_path / name)
        (folder / "model.safetensors").unlink()
        assert is_mae(f"local-dir:{folder}") is kind


def test_what_is_wrong_is_told_once() -> None:
    with pytest.raises(Misuse, match=r"unrecognized arguments: --fit.lrr"):
        read("linear", "--encoder", "bat_tiny", "--finetune", "--fit.lrr", "1")
