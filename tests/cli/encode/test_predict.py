"""`oscine predict` as it is called: what it says, what it writes, how it leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.cli import dispatch
from oscine.models.embed import clips
from oscine.models.embed import job as parts
from oscine.models.embed.progress import Progress
from oscine.models.encoders.bat import BAT
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.saved_probe import save_probe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.selection_tables import read_raven
from tests.conftest import Golden
from tests.hub_server import serving
from tests.published_stand_ins import BIRDS, LINEAR, PROTOTYPES, add_stand_ins


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings of 1.0, 1.3 and 0.4 s, nested and upper-case."""
    noise = np.random.default_rng(0)
    for name, seconds in (("SMM0_20240501_043000.wav", 1.0), ("b/C.FLAC", 1.3), ("d.ogg", 0.4)):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * noise.standard_normal(round(16000 * seconds)), 16000)
    return tmp_path / "in"


def save(folder: Path, pool: str = "mean") -> Path:
    """A probe whose first class is always likely and whose second never is."""
    torch.manual_seed(0)
    encoder = BAT(dim=48, depth=2, heads=4, seconds=0.5).eval()
    probe = LinearProbe(encoder, 2, pool).eval().requires_grad_(False)
    probe.fc.bias.copy_(torch.tensor([4.0, -4.0]))
    return save_probe(
        FittedProbe(
            probe,
            encoder,
            {"pool": pool},
            ["owl", "wren"],
            0.5,
            TaskKind.FRAMES if pool == "frames" else TaskKind.MULTI,
        ),
        folder,
    )


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    return save(tmp_path / "probe")


def call(folder: Path, probe: Path, out: Path, *more: str) -> list[str]:
    return ["predict", str(folder), "--probe", str(probe), "--out", str(out), "--workers", "0", *more]


def test_a_table_is_written_and_the_exit_code_says_how_it_went(
    folder: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    assert dispatch(call(folder, probe, out)) == 0
    said = capsys.readouterr()
    assert f"{out}: 6 clips of 3 recordings, 2.7 s" in said.out
    assert "found 3 recordings, 2.7 s, 6 clips" in said.err
    rows = pd.read_parquet(out)
    assert list(rows.columns) == ["file", "start_time", "end_time", "owl", "wren"]
    assert rows["owl"].min() > 0.5 > rows["wren"].max()
    assert dispatch(call(folder, probe, out)) == 1
    assert "exists already" in capsys.readouterr().err
    (folder / "empty.wav").touch()
    assert dispatch(call(folder, probe, out, "--overwrite", "--hop", "0.25", "--clock", "UTC")) == 3
    assert "recorded" in pd.read_parquet(out)


def test_detections_are_written_and_made_again_without_the_encoder(
    folder: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, raven = tmp_path / "out.parquet", tmp_path / "birds.txt"
    (folder / "empty.wav").touch()
    assert dispatch(call(folder, probe, out, "--detections", str(raven))) == 3
    assert f"{raven}: 3 detections, of probabilities from 0.5 on\n" in capsys.readouterr().out
    found = read_raven(raven, sorted(folder.rglob("*.*")))
    assert (found["label"] == "owl").all()
    assert found["end"].tolist() == pytest.approx([1.0, 1.3, 0.4])
    monkeypatch.setattr(BAT, "features", None)
    before = out.read_bytes()
    more = ["--detections", str(tmp_path / "labels"), "--threshold", "0.001"]
    assert dispatch(call(folder, probe, out, *more)) == 3
    assert f"{tmp_path / 'labels'}: 6 detections, of probabilities from 0.001 on\n" in capsys.readouterr().out
    assert (tmp_path / "labels/b/C.FLAC.txt").read_text().startswith("0.000000\t1.300000\towl\n")
    assert out.read_bytes() == before


def test_csv_and_detections_go_together_and_are_not_made_again(
    folder: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, raven = tmp_path / "birds.csv", tmp_path / "birds.txt"
    assert dispatch(call(folder, probe, out, "--detections", str(raven))) == 0
    assert f"{raven}: 3 detections, of probabilities from 0.5 on\n" in capsys.readouterr().out
    assert list(pd.read_csv(out)) == ["file", "start_time", "end_time", "owl", "wren"]
    monkeypatch.setattr(BAT, "features", None)
    assert dispatch(call(folder, probe, out, "--detections", str(tmp_path / "labels"), "--threshold", "0.001")) == 0
    assert f"{tmp_path / 'labels'}: 6 detections, of probabilities from 0.001 on\n" in capsys.readouterr().out


def test_detections_are_replaced_alone_where_the_table_is_what_the_call_would_make(
    folder: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, raven = tmp_path / "out.parquet", tmp_path / "birds.txt"
    arguments = call(folder, probe, out, "--detections", str(raven))
    assert dispatch(arguments) == 0
    written = out.stat().st_ino, out.stat().st_mtime_ns
    assert dispatch([*arguments, "--threshold", "0.001"]) == 1
    assert "birds.txt exists already; choose another name, or replace it (--overwrite," in capsys.readouterr().err
    assert dispatch([*arguments, "--threshold", "0.001", "--overwrite"]) == 0
    said = capsys.readouterr().out
    assert f"{out}: is what this call would make, and not made again\n" in said
    assert f"{raven}: 6 detections, of probabilities from 0.001 on\n" in said
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == written
    (folder / "d.ogg").touch()  # changed since
    for more in ([], ["--hop", "0.25"]):
        assert dispatch([*arguments, "--overwrite", *more]) == 0
        assert "clips of 3 recordings" in capsys.readouterr().out


@pytest.mark.parametrize("detections", ["birds.txt", "birds"])
def test_beside_detections_the_table_needs_no_name(
    folder: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], detections: str
) -> None:
    arguments = [
        "predict",
        str(folder),
        "--probe",
        str(probe),
        "--workers",
        "0",
        "--detections",
        str(tmp_path / detections),
    ]
    assert dispatch(arguments) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'birds.parquet'}: 6 clips of 3 recordings" in said
    assert f"{tmp_path / detections}: 3 detections" in said
    assert len(pd.read_parquet(tmp_path / "birds.parquet")) == 6
    assert dispatch(arguments[:-2]) == 2
    assert "nothing to write; name a table (--out birds.csv), detections" in capsys.readouterr().err


def test_only_the_classes_that_are_named_have_columns_and_detections(
    folder: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    all_of_them, one, names = tmp_path / "all.csv", tmp_path / "one.csv", tmp_path / "names.txt"
    names.write_text("wren\n\n", encoding="utf-8-sig")
    assert dispatch(call(folder, probe, one, "--classes", str(names))) == 0
    assert dispatch(call(folder, probe, all_of_them)) == 0
    assert list(pd.read_csv(one)) == ["file", "start_time", "end_time", "wren"]
    assert pd.read_csv(one)["wren"].tolist() == pd.read_csv(all_of_them)["wren"].tolist()
    of_all = call(folder, probe, all_of_them, "--classes", str(names), "--threshold", "0.001")
    assert dispatch([*of_all, "--detections", str(tmp_path / "wrens.txt")]) == 0
    assert set(read_raven(tmp_path / "wrens.txt", sorted(folder.rglob("*.*")))["label"]) == {"wren"}
    capsys.readouterr()
    assert dispatch(call(folder, probe, one, "--detections", str(tmp_path / "owls.txt"))) == 1
    assert "one.csv was made for other classes, without owl; choose another name, or make it" in capsys.readouterr().err


def test_a_published_classifier_names_the_birds_of_a_folder_and_is_exported(
    folder: Path,
    golden_convnext: Golden,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, names = tmp_path / "out.csv", tmp_path / "names.txt"
    names.write_text("rook\ntawny owl\n")
    with serving(tmp_path / "home", monkeypatch) as hub:
        add_stand_ins(hub, golden_convnext, monkeypatch)
        for name, birds in ((LINEAR, BIRDS), (PROTOTYPES, BIRDS[:4])):
            assert dispatch(call(folder, Path(name), out, "--overwrite")) == 0
            assert list(pd.read_csv(out))[3:] == birds
        assert dispatch(call(folder, Path(LINEAR), tmp_path / "some.csv", "--classes", str(names))) == 0
        assert list(pd.read_csv(tmp_path / "some.csv"))[3:] == ["rook", "tawny owl"]
        capsys.readouterr()
        assert dispatch(call(folder, Path(PROTOTYPES), tmp_path / "no.csv", "--classes", str(names))) == 1
        assert "the probe has no class rook; it has 4, such as wren" in capsys.readouterr().err.splitlines()[-1]
        assert dispatch(["export", LINEAR, str(tmp_path / "birds.onnx"), "--probe", LINEAR]) == 0
        assert "and logits [batch, 6]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("owl\nwrem\n", "the probe has no class wrem (did you mean wren?); it has 2, such as owl, wren"),
        ("owl\nowl\n", "class owl is named twice; name it once"),
        ("\n", "names.txt has no names; expected a text file of names, one a line"),
        (None, "names.txt; expected a text file of names, one a line"),
        (b"\xff\xfe\xff", "names.txt cannot be read (it is no text in UTF-8)"),
    ],
)
def test_names_that_are_none_of_the_probes_are_refused_in_one_line(
    folder: Path,
    probe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | bytes | None,
    complaint: str,
) -> None:
    names = tmp_path / "names.txt"
    if content is not None:
        names.write_bytes(content.encode() if isinstance(content, str) else content)
    assert dispatch(call(folder, probe, tmp_path / "out.csv", "--classes", str(names))) == 1
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


def test_a_run_stands_for_the_probe_in_it(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "run/probe")
    for number, name in enumerate(("run", "run/probe")):
        assert dispatch(call(folder, tmp_path / name, tmp_path / f"{number}.parquet")) == 0
    assert (tmp_path / "0.parquet").read_bytes() == (tmp_path / "1.parquet").read_bytes()


def test_a_file_and_a_list_are_predicted_by_channel(
    folder: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(folder / "stereo.wav", 0.1 * np.random.default_rng(0).standard_normal((16000, 2)), 16000)
    out = tmp_path / "one.csv"
    assert dispatch(call(folder / "stereo.wav", probe, out, "--channel", "each")) == 0
    assert "found 1 recording (2 stretches or channels), 2 s, 4 clips" in capsys.readouterr().err
    rows = pd.read_csv(out)
    assert list(rows) == ["file", "start_time", "end_time", "channel", "owl", "wren"]
    assert rows["channel"].tolist() == [1, 1, 2, 2]
    (folder / "list.csv").write_text("path,start,end\nstereo.wav,0.25,0.75\nnone.wav,,\nd.ogg,,\n")
    assert dispatch(call(folder / "list.csv", probe, tmp_path / "two.csv", "--channel", "right")) == 3
    assert pd.read_csv(tmp_path / "two.csv")["start_time"].tolist() == [0.25]
    errors = pd.read_csv(tmp_path / "two.csv.errors.csv", index_col="file")["reason"]
    assert errors.to_dict() == {
        "d.ogg": "has 1 channel, no channel 2; choose another one, or mix",
        "none.wav": "there is no such file; check the path",
    }


def test_frames_are_counted_as_frames(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.csv"
    assert dispatch(call(folder, save(tmp_path / "frames", "frames"), out)) == 0
    assert f"{out}: {4 + 4 + 4 + 4 + 2 + 3} frames of 3 recordings" in capsys.readouterr().out
    assert len(pd.read_csv(out)) == 21


def test_what_was_interrupted_goes_on_with_the_same_call(
    folder: Path, probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clips, "CHUNK_SECONDS", 1)
    monkeypatch.setattr(parts, "BATCHES", 1)
    out = tmp_path / "out.parquet"
    how = ["--batch-size", "1", "--detections", str(tmp_path / "birds.txt")]

    def stop(_: object, progress: Progress) -> None:
        if progress.clips > 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("oscine.cli.encode.messages.Reporter.progress", stop)
        assert dispatch(call(folder, probe, out, *how)) == 130
    assert not out.exists()
    capsys.readouterr()
    assert dispatch(call(folder, probe, out, *how)) == 0
    said = capsys.readouterr()
    assert "going on: 2 clips are done" in said.err
    assert "birds.txt: 3 detections" in said.out


def test_shards_are_merged_and_then_have_detections(
    folder: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = [str(tmp_path / f"{number}.parquet") for number in (1, 2)]
    for number, path in enumerate(shards, 1):
        assert dispatch(call(folder, probe, Path(path), "--shard", f"{number}/2")) == 0
    out = tmp_path / "all.parquet"
    assert dispatch(["merge", str(out), *shards]) == 0
    assert dispatch(call(folder, probe, out, "--detections", str(tmp_path / "birds.txt"))) == 0
    assert "birds.txt: 3 detections" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code", "complaint"),
    [
        (["--threshold", "0.5"], 2, "--threshold is for detections, the table has every probability"),
        (["--detections", "birds.txt", "--shard", "1/2"], 2, "detections are of all shards; join the tables with"),
        (
            ["--detections", "birds.txt", "--out", "out.npz"],
            2,
            "detections are read from a table FILE.parquet or FILE.csv, not out.npz",
        ),
        (["--detections", "birds.txt", "--threshold", "50"], 1, "threshold is 50, expected a probability"),
        (["--detections", "birds.csv"], 1, "detections birds.csv: expected FILE.txt for Raven"),
        (["--channel", "centre"], 1, "no channel 'centre'; choose mix, left, right, each, or a number from 1"),
        (["--out", "birds.xlsx"], 1, "call it birds.csv for Excel or R, birds.parquet for Python"),
        (["--probe", "nowhere"], 1, "no probe in nowhere"),
        (["--device", "abacus"], 1, "no device 'abacus' here"),
        (["--shard", "3/2"], 1, "shard '3/2': expected NUMBER/OF"),
        (["--precision", "int8"], 1, "no precision 'int8'; choose from auto, float32, bfloat16"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    folder: Path,
    probe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    code: int,
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dispatch(call(folder, probe, Path("out.parquet"), *more)) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert complaint in said.err
    assert said.err.count("\n") == 1
    assert not list(tmp_path.glob("out*"))
    assert not list(tmp_path.glob("birds*"))
