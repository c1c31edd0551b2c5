"""The synthetic dawn chorus: the same bytes for the same seed, complete, balanced, and its events are where it says."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from oscine.cli import dispatch
from oscine.models.errors import OscineError
from oscine.models.locks import lock_output
from oscine.probe.tasks.chorus import CLIP, RAVEN, SOUNDSCAPE, make_chorus, make_clip, make_soundscape
from oscine.probe.tasks.chorus_sounds import RECORDISTS, SPECIES, hatch, sing


@pytest.fixture(scope="module")
def chorus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("chorus") / "out"
    make_chorus(out, seed=3, clips=1)
    return out


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two species and two recordists, so that a whole data set is soon made."""
    for names in (SPECIES, RECORDISTS):
        for name in list(names)[2:]:
            monkeypatch.delitem(names, name)
    monkeypatch.setattr("oscine.probe.tasks.chorus.FLOCK", 2)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.usefixtures("few")
def test_the_same_seed_makes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("once", 5), ("again", 5), ("other", 6)):
        make_chorus(tmp_path / name, seed, clips=2)
    once, again, other = (hashes(tmp_path / name) for name in ("once", "again", "other"))
    assert once == again
    assert once.keys() == other.keys()
    assert all(once[path] != other[path] for path in once if path != "labels.csv")  # which names the same files


@pytest.mark.usefixtures("few")
def test_two_calls_do_not_write_one_folder_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with lock_output(out, "wait"), pytest.raises(OscineError, match=r"process \d+ on .* is writing .*out; wait for it"):
        make_chorus(out, clips=1)
    out.mkdir()
    (out / ".DS_Store").touch()
    assert make_chorus(out, clips=1).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_clip_does_not_depend_on_how_many_others_are_made(chorus: Path) -> None:
    name = next(iter(RECORDISTS))
    for species in SPECIES:
        written, _ = soundfile.read(chorus / "clips" / name / f"{species}_0.flac", dtype="int16")
        np.testing.assert_array_equal(written, make_clip(3, name, species, 0))


def test_the_table_names_every_clip_once_and_is_balanced(chorus: Path) -> None:
    table = pd.read_csv(chorus / "labels.csv")
    written = {path.relative_to(chorus).as_posix() for path in chorus.glob("clips/*/*.flac")}
    assert set(table.path) == written
    assert len(table) == len(written) == 50
    assert set(Counter(zip(table.label, table.fold, strict=True)).values()) == {1}
    assert set(table.label) == set(SPECIES)


def test_folds_are_recordists(chorus: Path) -> None:
    table = pd.read_csv(chorus / "labels.csv")
    assert set(zip(table.fold, table.recordist, strict=True)) == set(enumerate(RECORDISTS, start=1))
    assert (table.groupby("individual").fold.nunique() == 1).all()


def test_clips_have_the_length_and_the_rate_that_the_table_says(chorus: Path) -> None:
    for row in pd.read_csv(chorus / "labels.csv").itertuples():
        info = soundfile.info(chorus / str(row.path))
        assert (info.format, info.subtype, info.channels) == ("FLAC", "PCM_16", 1)
        assert info.samplerate == row.sample_rate == RECORDISTS[str(row.recordist)].sample_rate
        assert info.frames == row.seconds * info.samplerate == CLIP * info.samplerate


def test_no_recording_is_clipped_or_silent(chorus: Path) -> None:
    for path in chorus.rglob("*.flac"):
        wave, _ = soundfile.read(path)
        assert 0.02 < np.abs(wave).max() < 0.99, path


def test_selection_tables_stay_inside_their_soundscape(chorus: Path) -> None:
    for name, recordist in RECORDISTS.items():
        audio = chorus / "soundscapes" / f"{name}_0.flac"
        info = soundfile.info(audio)
        assert info.frames == SOUNDSCAPE * recordist.sample_rate
        table = pd.read_csv(audio.with_suffix(".txt"), sep="\t")
        assert tuple(table.columns) == RAVEN
        assert (table["Begin File"] == audio.name).all()
        assert (table["File Offset (s)"] == table["Begin Time (s)"]).all()
        assert ((table["Begin Time (s)"] >= 0) & (table["End Time (s)"] <= SOUNDSCAPE)).all()
        assert (table["Begin Time (s)"] < table["End Time (s)"]).all()
        assert (table["Low Freq (Hz)"] < table["High Freq (Hz)"]).all()
        assert (table["High Freq (Hz)"] <= info.samplerate / 2).all()
        assert set(table.Species) <= set(SPECIES)
        overlaps = table["End Time (s)"].cummax().shift() > table["Begin Time (s)"]
        assert overlaps.any()


def test_every_event_of_a_soundscape_sounds_in_its_band(monkeypatch: pytest.MonkeyPatch) -> None:
    _, noisy = make_soundscape(3, "drizzle", 0)
    clean = replace(RECORDISTS["drizzle"], background=(), echo=0.0, gain=-30)
    monkeypatch.setitem(RECORDISTS, "drizzle", clean)
    wave, events = make_soundscape(3, "drizzle", 0)
    assert events == noisy  # only the background is gone
    frames = np.lib.stride_tricks.sliding_window_view(wave / 32768, 512)[::256] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)) ** 2  # [frames, freq]
    hertz = np.fft.rfftfreq(512, 1 / clean.sample_rate)
    seconds = (np.arange(len(frames)) * 256 + 256) / clean.sample_rate
    near = 512 / clean.sample_rate  # a window that reaches into an event is not quiet
    quiet = np.all([(seconds < event.begin - near) | (seconds > event.end + near) for event in events], axis=0)
    assert quiet.any()
    for event in events:
        band = power[:, (hertz >= event.low) & (hertz <= event.high)]
        inside = band[(seconds >= event.begin) & (seconds <= event.end)].mean()
        assert inside > 1000 * band[quiet].mean(), event


def test_event_times_are_exact_to_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = replace(RECORDISTS["ridge"], background=(), echo=0.0)
    monkeypatch.setitem(RECORDISTS, "ridge", clean)
    wave, events = make_soundscape(3, "ridge", 0)
    sounding = np.flatnonzero(np.abs(wave.astype(int)) > 2) / clean.sample_rate
    # Filters smear a song's ends by less than a few milliseconds; its fades hide about one.
    assert sounding[0] == pytest.approx(events[0].begin, abs=0.003)
    assert sounding[-1] == pytest.approx(max(event.end for event in events), abs=0.003)


@pytest.mark.parametrize("species", SPECIES)
def test_a_song_sounds_from_its_first_sample_to_its_last(species: str) -> None:
    for number in range(5):
        rng = np.random.default_rng(number)
        song = sing(hatch(SPECIES[species], rng), 22_050, rng)
        assert song[0] != 0
        assert song[-1] != 0
        assert np.mean(song**2) == pytest.approx(1.0)


def test_songs_differ_between_individuals_and_from_repetition_to_repetition() -> None:
    rng = np.random.default_rng(0)
    one, other = (hatch(SPECIES["amber_swoopling"], rng) for _ in range(2))
    assert one.pitch != other.pitch
    assert one.tempo != other.tempo
    assert len({len(sing(one, 22_050, rng)) for _ in range(4)}) == 4


@pytest.mark.usefixtures("few")
def test_a_stopped_run_leaves_no_table_and_is_finished_by_the_same_call(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert total == 6
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        make_chorus(tmp_path / "out", clips=1, progress=stop)
    assert not (tmp_path / "out" / "labels.csv").exists()
    assert make_chorus(tmp_path / "out", clips=1).is_file()
    make_chorus(tmp_path / "straight", clips=1)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "straight")


@pytest.mark.usefixtures("few")
def test_a_finished_data_set_is_left_as_it_is_unless_a_file_is_gone(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    table = make_chorus(tmp_path, clips=1, soundscapes=0)
    make_chorus(tmp_path, clips=1, soundscapes=0, progress=lambda *step: told.append(step))
    assert told == []
    gone = next(tmp_path.glob("clips/*/*.flac"))
    gone.unlink()
    assert make_chorus(tmp_path, clips=1, soundscapes=0) == table
    assert gone.is_file()


@pytest.mark.usefixtures("few")
def test_a_folder_that_holds_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OscineError, match="something other than this data set"):
        make_chorus(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    make_chorus(tmp_path / "chorus", seed=1, clips=1, soundscapes=0)
    with pytest.raises(OscineError, match="holds a data set with seed 1, not 2; name a folder that is empty"):
        make_chorus(tmp_path / "chorus", seed=2, clips=1, soundscapes=0)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"clips": 0}, {"soundscapes": -1}])
def test_numbers_that_make_no_data_set_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(OscineError, match=f"{next(iter(wrong))} is"):
        make_chorus(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("few")
def test_the_command_says_what_it_wrote_and_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dispatch(["chorus", str(tmp_path / "out"), "--clips", "1", "--soundscapes", "1", "--seed", "2"])
    said = capsys.readouterr().out
    table = tmp_path / "out" / "labels.csv"
    assert f"{table}: the labels and folds of 4 clips" in said
    assert f"oscine quickstart --table {table}" in said
    assert "2 soundscapes" in said
