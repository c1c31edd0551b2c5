"""`oscine probe`: from a labelled table to scores, with all that is needed to repeat them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import oscine
from oscine.cli import dispatch
from oscine.cli.console import config as configs
from oscine.models import create_model, save_pretrained
from oscine.models.encoders.base.devices import choose_device, clips_at_once, device_name
from oscine.probe import load_probe
from oscine.probe.results.runs import read_runs
from tests.task_layouts import write_birdset, write_dcase, write_esc50

RATE = 16_000
SMALL = "--random_weights --encoder bat_tiny --seconds 0.6 --workers 0 --batch_size 5".split()
FITS = {
    "linear": "--fit.steps 30 --fit.warmup 3 --fit.lr 0.01 --head.dropout 0".split(),
    "attentive": "--fit.steps 30 --fit.warmup 3 --fit.lr 0.01".split(),
    "prototypical": "--fit.steps 30 --fit.warmup 3 --head.prototypes_per_class 3".split(),
    "cgp": "--fit.steps 30 --fit.warmup 3 --fit.lr 0.01 --head.prototypes 20".split(),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Low and high tones by two recordists, and the same with several labels a row."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    time = np.arange(RATE // 2) / RATE
    one, several = ["path,label,fold"], ["path,labels,split"]
    for row in range(12):
        low, high = row % 3 != 0, row % 3 != 1
        pitch = rng.uniform(0.95, 1.05)
        tones = low * np.sin(2 * np.pi * 400 * pitch * time) + high * np.sin(2 * np.pi * 4000 * pitch * time)
        soundfile.write(folder / f"{row}.flac", 0.2 * tones + rng.normal(0, 0.01, len(time)), RATE)
        if low != high:
            one.append(f"{row}.flac,{'low' if low else 'high'},{row // 3 % 2}")
        several.append(f"{row}.flac,{';'.join(['low'] * low + ['high'] * high)},{'train' if row < 6 else 'test'}")
    (folder / "several.csv").write_text("\n".join(several))
    (folder / "one.csv").write_text("\n".join(one))
    return folder / "one.csv"


@pytest.fixture(autouse=True)
def _work_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def strict(path: Path) -> dict[str, Any]:
    """JSON that has no NaN in it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.parametrize("config", FITS)
def test_every_probe_leaves_its_scores(config: str, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["probe", config, "--table", str(table), *SMALL, *FITS[config]]) == 0
    written = strict(Path("runs/probe") / config / "scores.json")
    assert written["oscine"] == oscine.__version__
    assert written["classes"] == ["high", "low"]
    assert written["rows"] == 8
    assert list(written["parts"]) == ["fold 0", "fold 1"]
    accuracies = [part["accuracy"] for part in written["parts"].values()]
    assert written["mean"]["accuracy"] == np.mean(accuracies)
    assert written["std"]["accuracy"] == np.std(accuracies)
    said = capsys.readouterr().out
    assert f"{written['mean']['accuracy']:.3f}" in said
    assert f"runs/probe/{config}/scores.json" in said


def test_scores_hold_every_setting_that_made_them(table: Path) -> None:
    assert dispatch(["probe", "linear", "--table", str(table), "--name", "mine", *SMALL, *FITS["linear"]]) == 0
    assert strict(Path("runs/probe/mine/scores.json"))["settings"] == {
        "name": "mine",
        "runs": "runs/probe",
        "probe": "LinearProbe",
        "encoder": "bat_tiny",
        "random_weights": True,
        "table": str(table),
        "data": None,
        "task": {"name": None, "valid": None, "shots": None, "draws": 3},
        "folds": None,
        "group": None,
        "column": None,
        "unsure": "",
        "skip_bad_tables": False,
        "negatives": "named",
        "background": None,
        "seconds": 0.6,
        "batch_size": 5,
        "workers": 0,
        "store": "runs/features",
        "store_gb": 100.0,
        "embeddings": None,
        "layer_scores": False,
        "device": choose_device(),
        "head": {"pool": "bands", "norm": "batch", "dropout": 0.0, "layer": -1},
        "fit": {
            "steps": 30, "warmup": 3, "batch_size": 48, "lr": 0.01, "weight_decay": 0.05, "beta2": 0.999, "clip": None,
            "loss": None, "balanced": False, "select_every": None, "seed": 0,
        },
        "finetune": False,
        "tuning": {
            "layer_decay": 0.75, "drop_path": 0.1, "mix": 0.0, "mixup": 0.0, "noise": 0.0,
                "noise_snr": [3.0, 30.0], "hiss": 0.0, "loudness": False, "gain": 0.0,
            "masks": 0.0, "time_mask": 0, "freq_mask": 0, "background": None, "precision": "float32", "save_every": 100,
        },
        "search": {"trials": 0, "sobol": 8, "space": {"fit": {}, "head": {}}},
    }  # fmt: skip


def test_the_device_and_its_batch_are_chosen_and_said(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    small = [*SMALL[: SMALL.index("--batch_size")], *FITS["linear"]]
    assert dispatch(["probe", "linear", "--table", str(table), *small]) == 0
    device = choose_device()
    assert f"device: {device}, {device_name(device)}" in caplog.messages
    caplog.clear()
    settings = strict(Path("runs/probe/linear/scores.json"))["settings"]
    assert (settings["device"], settings["batch_size"]) == (device, clips_at_once(device))
    assert dispatch(["probe", "linear", "--table", str(table), *small, "--device", "cpu", "--name", "two"]) == 0
    assert "device: " not in caplog.text


def test_the_same_call_gives_the_same_scores_whatever_the_workers(table: Path) -> None:
    call = ["probe", "cgp", "--table", str(table), *SMALL, *FITS["cgp"]]
    assert dispatch([*call, "--name", "one"]) == 0
    torch.manual_seed(5)  # what happened before must not count
    assert dispatch([*call, "--name", "two", "--workers", "1"]) == 0
    one, two = (strict(Path("runs/probe") / name / "scores.json") for name in ("one", "two"))
    assert one["parts"] == two["parts"]


def test_several_labels_and_a_split_are_scored_too(table: Path) -> None:
    several = str(table.with_name("several.csv"))
    assert dispatch(["probe", "linear", "--table", several, *SMALL, *FITS["linear"]]) == 0
    written = strict(Path("runs/probe/linear/scores.json"))
    assert list(written["parts"]) == ["test"]
    assert written["parts"]["test"]["rows"] == 6
    assert written["std"]["cmap"] == 0.0


def test_a_score_that_is_not_defined_is_null(table: Path) -> None:
    lines = table.read_text().split()
    alike = [f"{line.rpartition(',')[0]},{int('low' in line)}" for line in lines[1:]]  # a fold a class
    path = table.with_name("alike.csv")
    path.write_text("\n".join([lines[0], *alike]))
    assert dispatch(["probe", "linear", "--table", str(path), *SMALL, *FITS["linear"]]) == 0
    written = strict(Path("runs/probe/linear/scores.json"))
    assert written["mean"]["auroc"] is None
    assert written["mean"]["accuracy"] == 0.0, "each fold's class is unknown to the other"


def test_a_saved_encoder_is_probed_with_its_own_weights(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    save_pretrained(create_model("bat_tiny", depth=1, dim=24, heads=2, seconds=0.6), "mine")
    call = ["probe", "linear", "--table", str(table), "--workers", "0", "--encoder", "local-dir:mine", *FITS["linear"]]
    assert dispatch(call) == 0
    assert strict(Path("runs/probe/linear/scores.json"))["settings"]["random_weights"] is False
    assert dispatch([*call, "--name", "other", "--random_weights"]) == 2
    assert "local-dir:mine brings its own weights; leave random weights out" in capsys.readouterr().err
    assert not Path("runs/probe/other").exists()


def test_existing_scores_are_kept_until_they_may_be_replaced(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = Path("runs/probe/linear/scores.json")
    scores.parent.mkdir(parents=True)
    earlier = json.dumps({"oscine": "0.1", "task": "mine", "settings": {}})
    scores.write_text(earlier)
    call = ["probe", "linear", "--table", str(table), *SMALL, *FITS["linear"]]
    assert dispatch(call) == 1
    assert "scores.json exists; --overwrite replaces it, --name X writes others beside it" in capsys.readouterr().err
    assert scores.read_text() == earlier
    assert dispatch([*call, "--overwrite"]) == 0
    assert strict(scores)["rows"] == 8


FOREIGN = ("probe/my_source.py", "predictions.parquet", "predictions.csv", "report.html", "folds.csv", "scores.json")


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_run_has_written_is_never_replaced(
    name: str, more: list[str], table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path("runs/probe/linear") / name
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    assert dispatch(["probe", "linear", "--table", str(table), *SMALL, *FITS["linear"], *more]) == 1
    assert (
        f"{mine if name.count('/') == 0 else mine.parent} is of no run that oscine probe made"
        in capsys.readouterr().err
    )
    assert mine.read_text() == "precious"


@pytest.mark.parametrize("name", ["probe/encoder/notes.txt", "search/0/notes.txt", "states/notes.txt"])
def test_what_lies_among_the_files_of_an_earlier_run_is_not_deleted_with_them(
    name: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["probe", "linear", "--table", str(table), *SMALL, *FITS["linear"]]
    assert dispatch(call) == 0
    mine = Path("runs/probe/linear") / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("precious")
    beside = Path("runs/probe/linear/notes.txt")
    beside.write_text("precious")
    assert dispatch([*call, "--overwrite"]) == 1
    assert f"{name} is none of the files that oscine probe writes" in capsys.readouterr().err
    assert mine.read_text() == "precious"
    mine.unlink()
    assert dispatch([*call, "--overwrite"]) == 0
    assert beside.read_text() == "precious"
    assert not list(Path("runs/probe/linear").glob(".oscine*"))


@pytest.mark.parametrize("what", ["run.write_whole", "judge_task.write_predictions", "judge_task.write_report"])
def test_whatever_cannot_be_written_leaves_the_earlier_run_as_it_was(
    what: str, table: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call = ["probe", "linear", "--table", str(table), *SMALL, *FITS["linear"]]
    assert dispatch(call) == 0
    folder = Path("runs/probe/linear")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"oscine.probe.run.{what}", full)
    with pytest.raises(OSError, match="No space left"):
        dispatch([*call, "--overwrite"])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert f"{folder} holds again what was there before" in caplog.text
    assert len(Path("runs/probe/results.jsonl").read_text().splitlines()) == 1, "it has no scores either"


@pytest.mark.parametrize("order", ["overwrite", "resume"])
def test_a_yaml_orders_nothing(order: str, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(configs.find("probe", "linear").read_text() + f"\n{order}: true\n")
    assert dispatch(["probe", "mine.yaml", "--table", str(table), *SMALL]) == 2
    assert f"mine.yaml has {order}: True, which the command line alone may ask for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--encoder", "bat_tiny"], 1, "bat_tiny has no weights to fetch"),
        (["--encoder", "local-dir:nowhere", "--random-weights"], 2, "local-dir:nowhere brings its own weights"),
        (["--encoder", "bat_tyni", "--random_weights"], 1, "no model 'bat_tyni'; did you mean 'bat_tiny'?"),
        ([*SMALL, "--device", "abacus"], 1, "no device 'abacus' here"),
        ([*SMALL, "--head.pool", "max"], 1, "'max' is not known to this probe; choose from cls, mean, bands"),
        ([*SMALL, "--fit.steps", "100", "--fit.warmup", "400"], 1, "fit.warmup is 400, expected a share below 1"),
        ([*SMALL, "--probe", "AttentiveProbe"], 2, "--probe: invalid choice: 'AttentiveProbe'"),
        ([*SMALL, "--head.pol", "cls"], 2, "unrecognized arguments: --head.pol cls"),
        ([*SMALL, "--batch_size", "0"], 2, "batch_size is 0, expected more than 0"),
        ([*SMALL, "--seconds", "-1"], 2, "seconds is -1.0, expected more than 0"),
        ([*SMALL, "--table", "nowhere.csv"], 1, "no table nowhere.csv; check the path"),
    ],
)
def test_what_cannot_be_probed_is_told_so_in_one_line(
    arguments: list[str], code: int, complaint: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch(["probe", "linear", "--table", str(table), *arguments]) == code
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not Path("runs").exists()


def test_without_clips_no_encoder_is_opened_and_what_to_fetch_is_said(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("oscine.probe.run.run.open_encoder", None)  # that is not called
    for config, said in (
        ("hsn_cgp", '--include "HSN/*" --local-dir BirdSet brings it, for --data BirdSet/HSN; or give --table'),
        ("esc50_cgp", "git clone https://github.com/karolpiczak/ESC-50"),
        ("linear", "give --table FILE.csv, your labelled table, or --data FOLDER"),
    ):
        assert dispatch(["probe", config, "--encoder", "bird_mae_large.xcl"]) == 2
        assert said in capsys.readouterr().err
    assert dispatch(["probe", "linear", "--encoder", "bird_mae_large.xcl", "--table", "nowhere.csv"]) == 1
    assert "no table nowhere.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("0.flac,,1", "row 10 (0.flac) has no label; fill it in or leave the row out"),
        ("0.flac,low,", "row 10 (0.flac) has no fold; fill it in or leave the row out"),
        ("gone.flac,low,1", "1 of its 9 recordings do not exist, such as"),
        ("1.flac,high,1", "repeats an earlier row"),
    ],
)
def test_a_table_with_a_wrong_row_names_it(
    row: str, complaint: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = table.with_name("wrong.csv")
    wrong.write_text(f"{table.read_text()}\n{row}\n")
    assert dispatch(["probe", "linear", "--table", str(wrong), *SMALL]) == 1
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


def test_clips_that_are_encoded_for_a_fit_where_no_store_has_room_are_counted(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["probe", "linear", "--table", str(table), *SMALL, *FITS["linear"]]
    assert dispatch([*call, "--store", "stores", "--store_gb", "1e-9"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert any(line.startswith("prepare clips: 8/8") for line in said)
    assert not any(line.startswith("encode") for line in said), "into no store"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_recording_that_cannot_be_read_is_named(
    workers: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.with_name("broken.flac").write_bytes(b"no sound")
    wrong = table.with_name("wrong.csv")
    wrong.write_text(f"{table.read_text()}\nbroken.flac,low,1\n")
    assert dispatch(["probe", "linear", "--table", str(wrong), *SMALL, "--workers", workers]) == 1
    *_, said = capsys.readouterr().err.strip().splitlines()
    assert "broken.flac: " in said
    assert said.startswith("oscine probe: ")


BRIEF = "--fit.steps 6 --fit.warmup 1 --workers 0 --random_weights".split()


def test_a_published_task_needs_no_more_than_its_yaml_an_encoder_and_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(write_esc50(tmp_path / "ESC-50"))
    call = ["probe", "esc50_cgp", "--encoder", "bat_tiny", "--data", folder, "--seconds", "0.5", *BRIEF]
    assert dispatch([*call, "--head.prototypes", "8"]) == 0
    written = strict(Path("runs/probe/esc50_cgp/scores.json"))
    assert list(written["parts"]) == ["fold 1", "fold 2", "fold 3"]
    assert written["evidence"]["intervals"]["accuracy"]["value"] == pytest.approx(written["mean"]["accuracy"])
    assert "choices" in written["evidence"]["unsaid"]
    (run,) = read_runs("runs/probe/results.jsonl")
    assert (run.task, run.probe, run.metric) == ("esc50", "cgp", "accuracy")
    assert "oscine compare runs/probe/results.jsonl --task esc50" in capsys.readouterr().out


def test_rows_that_are_held_out_choose_thresholds_and_scalings(tmp_path: Path) -> None:
    folder = str(write_birdset(tmp_path))
    call = ["probe", "linear", "--encoder", "bird_mae_tiny", "--data", folder, *BRIEF]
    assert dispatch([*call, "--task.name", "hsn", "--task.valid", "0.5"]) == 0
    found = strict(Path("runs/probe/linear/scores.json"))["evidence"]
    assert "platt per class" in found["calibration"]
    assert set(found["choices"]) == {"test"}
    assert found["unsaid"] == {"intervals": "2 recordings are too few for an interval, which takes 3 at least"}


def test_few_shots_leave_a_curve_and_a_run_for_each_number(tmp_path: Path) -> None:
    folder = str(write_birdset(tmp_path))
    call = ["probe", "hsn_few_shot_prototypical", "--encoder", "bird_mae_tiny", "--data", folder, *BRIEF]
    assert dispatch([*call, "--task.shots", "[1, 2]", "--task.draws", "2", "--head.prototypes_per_class", "2"]) == 0
    curve = strict(Path("runs/probe/hsn_few_shot_prototypical/scores.json"))["few_shot"]
    assert [(point["shots"], len(point["draws"])) for point in curve] == [(1, 2), (2, 2)]
    assert [run.task for run in read_runs("runs/probe/results.jsonl")] == ["hsn_1_shot", "hsn_2_shot"]
    assert "Few clips to learn from" in Path("runs/probe/hsn_few_shot_prototypical/report.html").read_text()


def test_events_are_found_by_the_moment(tmp_path: Path) -> None:
    folder = str(write_dcase(tmp_path))
    call = ["probe", "dcase2016_cgp", "--encoder", "bat_tiny", "--data", folder, *BRIEF]
    assert dispatch([*call, "--head.prototypes", "8"]) == 0
    written = strict(Path("runs/probe/dcase2016_cgp/scores.json"))
    assert written["parts"]["test"]["published"]["median"] == 3
    assert written["classes"] == ["speech", "cough", "drawer"]
    (run,) = read_runs("runs/probe/results.jsonl")
    assert (run.task, run.probe) == ("dcase2016", "cgp")
    assert run.mean["onset_f1"] is not None
    fitted = load_probe("runs/probe/dcase2016_cgp/probe")
    assert "Which threshold?" in Path("runs/probe/dcase2016_cgp/report.html").read_text()
    assert fitted.frame_seconds == 0.16
    assert fitted.thresholds is not None
    chosen = written["parts"]["test"]["chosen"]
    assert (fitted.thresholds[0].item(), fitted.median) == (pytest.approx(chosen["threshold"]), chosen["median"])
    (scene,) = written["recordings"]
    assert scene["chosen_onset_f1"][1] == 2, "of two events"
    assert written["evidence"]["unsaid"]["intervals"].startswith("1 recording is too few for an interval")
    assert dispatch([*call, "--head.pool", "cls", "--name", "other"]) == 2


def test_a_run_in_place_of_another_leaves_nothing_of_it(table: Path, tmp_path: Path) -> None:
    left = ["folds.csv", "predictions.csv", "predictions.parquet", "probe", "report.html", "scores.json"]
    call = ["probe", "linear", *SMALL, *FITS["linear"], "--name", "run"]
    assert dispatch([*call, "--table", str(table)]) == 0
    assert sorted(path.name for path in Path("runs/probe/run").iterdir()) == left
    assert load_probe("runs/probe/run/probe").classes == ["high", "low"]
    folder = str(write_birdset(tmp_path))
    few = ["--data", folder, "--task.name", "hsn", "--task.shots", "[1]", "--task.draws", "1", "--overwrite"]
    assert dispatch([*call, *few, "--encoder", "bird_mae_tiny"]) == 0
    assert sorted(path.name for path in Path("runs/probe/run").iterdir()) == left[4:]


def test_other_folds_are_another_run(table: Path) -> None:
    text = table.read_text()
    for number, folds in enumerate((text, text.replace(",0", ",9"))):
        own = table.parent / f"{number}.csv"
        own.write_text(folds)
        call = ["probe", "linear", "--table", str(own), "--name", str(number), *SMALL, *FITS["linear"]]
        assert dispatch(call) == 0
    one, other = read_runs("runs/probe/results.jsonl")
    assert one.settings["rows"] != other.settings["rows"]


def test_a_layer_by_itself_is_scored_on_demand_and_not_from_a_table(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["probe", "linear", "--table", str(table), *SMALL, *FITS["linear"], "--layer_scores"]
    assert dispatch(call) == 0
    assert "What each layer tells by itself" in Path("runs/probe/linear/report.html").read_text()
    assert dispatch([*call, "--overwrite", "--embeddings", "table.parquet"]) == 2
    assert "--embeddings has them encoded" in capsys.readouterr().err


def test_two_runs_are_compared_row_by_row(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("one", "0"), ("two", "1")):
        call = ["probe", "linear", "--table", str(table), "--name", name, *SMALL, *FITS["linear"], "--fit.seed", seed]
        assert dispatch(call) == 0
    capsys.readouterr()
    assert dispatch(["compare", "--paired", "runs/probe/one", "runs/probe/two"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["one", "two"]


def test_a_table_without_folds_leaves_the_ones_that_were_made(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = table.with_name("bare.csv")
    bare.write_text("\n".join(line.rpartition(",")[0] for line in table.read_text().splitlines()))
    call = ["probe", "linear", "--table", str(bare), "--name", "bare", "--folds", "2", *SMALL, *FITS["linear"]]
    assert dispatch(call) == 0
    folds = Path("runs/probe/bare/folds.csv")
    said = capsys.readouterr().out
    assert f"which clip is in which fold: {folds}" in said
    assert "how good thresholds and calibration are is not judged" in said
    scores = strict(Path("runs/probe/bare/scores.json"))
    again = ["probe", "linear", "--table", str(folds), "--name", "again", *SMALL, *FITS["linear"]]
    assert dispatch(again) == 0
    assert strict(Path("runs/probe/again/scores.json"))["mean"] == scores["mean"]


def test_silence_and_noise_are_nothing_to_the_probe_that_is_kept(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch(["probe", "linear", "--table", str(table), *SMALL, *FITS["linear"]]) == 0
    assert "Where no class sounds" in Path("runs/probe/linear/report.html").read_text()
    assert not load_probe("runs/probe/linear").single_label, "of the run that holds it"
    (tmp_path / "night").mkdir()
    soundfile.write("night/silence.wav", np.zeros(10 * RATE), RATE)
    soundfile.write("night/noise.wav", 0.1 * np.random.default_rng(5).standard_normal(10 * RATE), RATE)
    capsys.readouterr()
    assert dispatch("predict night --probe runs/probe/linear --detections found.txt --workers 0".split()) == 0
    said = capsys.readouterr().out
    assert re.search(r"found.txt: 0 detections, of probabilities from 0\.\d\d on \(high\), 0\.\d\d on \(low\)\n", said)
    assert "it detects none in 0.04 min of silence, none in 0.36 min of noise; in clips of 0.6 s\n" in said


def test_negatives_none_makes_classes_of_them_and_background_is_for_recordings_of_ones_own(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = table.read_text().replace("high", "noise")
    noisy = table.with_name("noisy.csv")
    noisy.write_text(text)
    for option, classes in (("named", ["low"]), ("none", ["low", "noise"])):
        call = ["probe", "linear", "--table", str(noisy), "--negatives", option, "--name", option, *SMALL]
        assert dispatch([*call, *FITS["linear"]]) == 0
        assert strict(Path(f"runs/probe/{option}/scores.json"))["classes"] == classes
    capsys.readouterr()
    assert dispatch("probe esc50_cgp --encoder bat_tiny --data x --background x".split()) == 2
    assert "--background goes with recordings of your own; esc50 is a published task" in capsys.readouterr().err
