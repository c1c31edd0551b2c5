"""Reading recordings: any rate and format, any part, and what is said of a file that is not whole."""

from __future__ import annotations

import logging
import math
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from oscine.models.audio import load as audio
from oscine.models.audio.load import AudioError, audio_info, count_clips, load_audio, split_clips
from oscine.models.errors import OscineError

RATES = [
    (44100, 32000), (44100, 16000), (48000, 16000), (22050, 32000), (250000, 16000), (10000, 16000), (16000, 16000),
    (8000, 32000), (44100, 16001),
]  # fmt: skip


def noise(frames: int, channels: int = 1) -> np.ndarray:
    return 0.2 * np.random.default_rng(0).standard_normal((frames, channels)).astype(np.float32)


def written(path: Path, seconds: float = 3.0, rate: int = 16000, channels: int = 1, **how: str) -> Path:
    soundfile.write(path, noise(round(seconds * rate), channels), rate, **how)
    return path


def cut(path: Path, share: float) -> Path:
    """The file's beginning under its own name."""
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])
    return path


@pytest.mark.parametrize(("source", "target"), RATES)
def test_a_part_equals_the_slice_of_the_whole(tmp_path: Path, source: int, target: int) -> None:
    path = written(tmp_path / "a.wav", 4.0, source, subtype="FLOAT")
    whole = load_audio(path, target)
    assert len(whole) == math.ceil(4 * target)
    for start, seconds in [(0.0, 0.7), (0.37, 1.0), (1.234567, 0.01), (2.9, 0.9), (3.5, 0.5), (0.0, 4.0)]:
        part = load_audio(path, target, start, seconds)
        first = round(start * target)
        torch.testing.assert_close(part, whole[first : first + round(seconds * target)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
@pytest.mark.parametrize("how", [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16")])
def test_a_part_of_a_compressed_file_equals_the_slice_of_the_whole(
    tmp_path: Path, rate: int, how: tuple[str, str]
) -> None:
    time = np.arange(8 * rate) / rate
    sound = 0.3 * np.sin(2 * np.pi * rate / 10 * np.sin(time) * time)
    sound[:: rate // 3] += 0.6  # clicks: an encoder then borrows bits from earlier frames
    soundfile.write(path := tmp_path / "a", sound, rate, format=how[0], subtype=how[1])
    whole = load_audio(path, rate)
    for start in np.linspace(0.01, 7.9, 40):  # also within the last page of an Ogg
        first = round(start * rate)
        part = load_audio(path, rate, start, 0.5)
        torch.testing.assert_close(part, whole[first : first + round(0.5 * rate)], rtol=0, atol=1e-5)


def test_resampling_keeps_a_tone_and_drops_what_the_new_rate_cannot_hold(tmp_path: Path) -> None:
    time = np.arange(48000) / 48000
    low, high = 0.25 * np.sin(2 * np.pi * 1000 * time), 0.25 * np.sin(2 * np.pi * 11000 * time)
    soundfile.write(path := tmp_path / "a.wav", low + high, 48000, subtype="FLOAT")
    expected = torch.from_numpy(0.25 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)).float()
    torch.testing.assert_close(load_audio(path, 16000)[500:-500], expected[500:-500], rtol=0, atol=1e-5)


def test_channels_are_averaged(tmp_path: Path) -> None:
    sound = noise(1000, 3)
    soundfile.write(path := tmp_path / "a.wav", sound, 10000, subtype="FLOAT")
    waveform = load_audio(path, 10000)
    assert waveform.dtype == torch.float32
    torch.testing.assert_close(waveform, torch.from_numpy(sound.mean(1)))


def test_seconds_beyond_the_end_give_what_is_there(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", 1.0)
    assert len(load_audio(path, 16000, start=0.75, seconds=10.0)) == 4000


@pytest.mark.parametrize("start", [1.0, 60.0])
def test_a_start_at_or_past_the_end_is_an_error(tmp_path: Path, start: float) -> None:
    path = written(tmp_path / "a.wav", 1.0)
    with pytest.raises(AudioError, match=r"a\.wav: lasts 1\.000 s .* start earlier"):
        load_audio(path, 32000, start=start)


@pytest.mark.parametrize(("start", "seconds"), [(-1.0, None), (0.0, 0.0), (0.0, -2.0)])
def test_a_part_outside_of_time_is_an_error(tmp_path: Path, start: float, seconds: float | None) -> None:
    with pytest.raises(OscineError, match="begins at 0 s or later"):
        load_audio(written(tmp_path / "a.wav"), 16000, start, seconds)


def test_audio_info_tells_what_the_header_says(tmp_path: Path) -> None:
    info = audio_info(written(tmp_path / "a.flac", 1.5, 22050, 2))
    assert info == (33075, 22050, 2, "")
    assert info.seconds == 1.5


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.wav", {}), ("a.wav", {"subtype": "PCM_24"}), ("a.wav", {"format": "RF64"}), ("a.wav", {"endian": "BIG"}),
        ("a.aiff", {}), ("a.caf", {}), ("a.w64", {}), ("a.flac", {}), ("a.ogg", {}), ("a.mp3", {}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
    ],
)  # fmt: skip
def test_a_whole_file_of_any_format_is_read_without_complaint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, how: dict[str, str]
) -> None:
    path = written(tmp_path / name, **how)
    assert len(load_audio(path, 16000)) == 48000
    assert audio_info(path).note == ""
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "how", "least", "reason"),
    [
        ("a.wav", {}, 1.7, r"truncated: holds 1\.\d+ s of the 3\.000 s that its header promises"),
        ("a.wav", {"format": "RF64"}, 1.7, r"truncated: holds 1\.\d+ s of the 3\.000 s that its header promises"),
        ("a.wav", {"endian": "BIG"}, 1.7, r"truncated: holds 1\.\d+ s of the 3\.000 s that its header promises"),
        ("a.aiff", {}, 1.7, r"truncated: holds 1\.\d+ s of the 3\.000 s that its header promises"),
        ("a.flac", {}, 1.4, r"truncated: holds 1\.\d+ s of the 3\.000 s that its header promises"),
        ("a.mp3", {}, 1.4, r"truncated: holds 1\.\d+ s of the 3\.000 s that its header promises"),
        ("a.ogg", {}, 0.1, "truncated: its last Ogg page is missing"),
    ],
)  # fmt: skip
def test_of_a_file_cut_short_the_readable_part_is_used_and_a_warning_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, how: dict[str, str], least: float, reason: str
) -> None:
    path = written(tmp_path / name, **how)
    whole = load_audio(path, 16000)
    with caplog.at_level(logging.WARNING):
        part = load_audio(cut(path, 0.6), 16000)
        load_audio(path, 16000)
    assert least * 16000 < len(part) < 2.1 * 16000
    torch.testing.assert_close(part, whole[: len(part)], rtol=0, atol=1e-5)
    assert len(caplog.records) == 1, "once, however often it is read"
    assert caplog.text.count(str(path)) == 1
    assert re.search(reason, caplog.text)


def test_a_part_that_cannot_be_decoded_is_an_error(tmp_path: Path) -> None:
    content = written(path := tmp_path / "a.mp3", 10.0).read_bytes()
    path.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))
    assert 4.5 < len(load_audio(path, 16000)) / 16000 < 5.5
    with pytest.raises(AudioError, match=r"damaged: cannot be decoded from \d\.\d+ s on"):
        load_audio(path, 16000, start=8.0)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=r"lasts 4\.\d+ s and cannot be read from 8\.000 s"):
        load_audio(path, 16000, start=8.0)


def test_an_ogg_whose_last_page_is_not_whole_is_cut_short(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ogg")
    path.write_bytes(path.read_bytes()[:-1])
    assert "last Ogg page" in audio_info(path).note


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.wav", b"", "is empty"),
        ("a.mp3", b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 10, "is no audio"),
        ("a.flac", bytes(5000), "is no audio"),
        ("a.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "is no audio .* its header is unfinished"),
        ("a.wav", b"\0\0\0\x20ftypM4A " + bytes(99), r"is no audio that can be read here \(MP4\); convert it"),
        ("a.raw", b"12345678", "is no audio"),
    ],
)
def test_what_is_no_audio_is_an_error_that_names_it(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (path := tmp_path / name).write_bytes(content)
    for read in (audio_info, lambda path: load_audio(path, 16000)):
        with pytest.raises(AudioError, match=reason) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_a_file_without_samples_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="holds no samples; leave it out"):
        load_audio(written(tmp_path / "a.wav", 0.0, channels=2), 16000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_an_error(tmp_path: Path, value: float) -> None:
    sound = noise(1000)
    sound[500] = value
    soundfile.write(path := tmp_path / "a.wav", sound, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="infinite or not a number"):
        load_audio(path, 16000)


def test_a_missing_file_a_folder_and_a_forbidden_file_each_have_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AudioError, match="there is no such file"):
        load_audio(tmp_path / "a.wav", 16000)
    with pytest.raises(AudioError, match="is a folder"):
        load_audio(tmp_path, 16000)
    path = written(tmp_path / "b.wav")
    path.chmod(0)
    if os.access(path, os.R_OK):  # nothing is forbidden to root

        def forbidden(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(AudioError, match="may not be read"):
        load_audio(path, 16000)


def test_an_audio_error_can_be_sent_between_processes() -> None:
    error = pickle.loads(pickle.dumps(AudioError("a.wav", "is empty")))
    assert (str(error), error.path, error.reason) == ("a.wav: is empty", Path("a.wav"), "is empty")


@pytest.mark.parametrize(
    ("length", "samples", "hop", "starts"),
    [
        (10, 5, None, [0, 5]), (11, 5, None, [0, 5, 10]), (3, 5, None, [0]), (5, 5, None, [0]), (10, 5, 2, [0, 2, 4, 6]),
        (9, 5, 2, [0, 2, 4]), (12, 5, 10, [0, 10]), (8, 5, 10, [0]), (10, 5, 10, [0]), (11, 5, 10, [0, 10]),
    ],
)  # fmt: skip
def test_clips_cover_a_recording_and_the_last_is_filled_with_silence(
    length: int, samples: int, hop: int | None, starts: list[int]
) -> None:
    waveform = torch.arange(1.0, length + 1)
    clips = split_clips(waveform, samples, hop)
    silence = torch.cat([waveform, torch.zeros(samples)])
    torch.testing.assert_close(clips, torch.stack([silence[start : start + samples] for start in starts]))
    assert count_clips(length, samples, hop or samples) == len(starts)


def test_only_a_single_waveform_can_be_split() -> None:
    with pytest.raises(OscineError, match=r"shape \(2, 10\), expected \[samples\]"):
        split_clips(torch.zeros(2, 10), 5)
    with pytest.raises(OscineError, match="at least 1"):
        split_clips(torch.zeros(10), 5, 0)
    assert torch.equal(split_clips(np.arange(4.0), 2), split_clips(torch.arange(4.0, dtype=torch.float64), 2))


def test_arguments_in_another_order_are_told_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(
        OscineError, match=r"the first argument is '16000', expected a path; call load_audio\(path, sample_"
    ):
        load_audio(16000, str(tmp_path / "a.wav"))  # type: ignore[arg-type]
    with pytest.raises(OscineError, match="waveform is of type int, expected a tensor or an array"):
        split_clips(5, torch.zeros(10))  # type: ignore[arg-type]


FORMATS = {  # seconds, as metadata.csv states them
    "soundscape_120s_48k.flac": 120.0, "soundscape_120s_48k.mp3": 120.0, "soundscape_120s_48k.ogg": 120.0,
    "perch_21100_10s_16k.flac": 10.0, "perch_21100_10s_16k.mp3": 10.0, "perch_21100_10s_16k.ogg": 10.0,
    "perch_21100_10s_16k.wav": 10.0, "great_plains_toad_5s_44k1_stereo_24bit.wav": 5.0,
    "great_plains_toad_5s_44k1_stereo.mp3": 5.0, "great_plains_toad_5s_44k1_stereo.flac": 5.0,
    "soundscape_30s_32k.flac": 30.0, "rugr_drum.wav": 10.0, "audiomoth_gps.wav": 2.0, "veryshort.wav": 0.142,
    "LOCA_2021_09_24_652_8_late_start.wav": 0.9, "silence_10s.mp3": 10.0, "birds_10s.wav": 10.133,
    "spinetail_44k1.flac": 19.542, "fruitfly-song-3ch-10k.wav": 1.5, "deermouse-usv-250k.wav": 1.2,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_odd_format_is_read_whole(recordings: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    path = recordings / "formats" / name
    waveform = load_audio(path, 16000)
    assert len(waveform) / 16000 == pytest.approx(FORMATS[name], abs=1e-3)
    middle = len(waveform) // 3
    part = load_audio(path, 16000, middle / 16000, 0.1)
    torch.testing.assert_close(part, waveform[middle : middle + 1600], rtol=0, atol=1e-5)
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken/empty.wav", "is empty"), ("broken/html.mp3", "is no audio"), ("broken/nan_inf.wav", "infinite or not"),
        ("formats/empty_2c.wav", "holds no samples"), ("formats/spinetail.txt", "is no audio"),
    ],
)  # fmt: skip
def test_every_useless_file_is_refused(recordings: Path, name: str, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        load_audio(recordings / name, 16000)


@pytest.mark.parametrize(
    ("name", "samples", "reason"),
    [
        ("truncated.wav", 54037, "holds 3.377 s of the 10.133 s"),
        ("truncated.flac", 78336, "holds 4.896 s of the 10.000 s"),
        ("truncated.ogg", 64640, "last Ogg page"), ("truncated.mp3", 78383, "holds 4.899 s of the 10.000 s"),
        ("corrupt_middle.mp3", 78959, "up to 4.935 s of 10.000 s"),
    ],
)  # fmt: skip
def test_every_file_cut_short_is_read_as_far_as_it_goes(
    recordings: Path, caplog: pytest.LogCaptureFixture, name: str, samples: int, reason: str
) -> None:
    assert len(load_audio(recordings / "broken" / name, 16000)) == samples
    assert [reason in record.message for record in caplog.records] == [True]


def test_a_length_that_another_thread_forgets_at_once_is_known_all_the_same(tmp_path, monkeypatch):
    class Forgetful(dict):
        def __setitem__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(audio, "_EXTENTS", Forgetful())
    assert audio_info(written(tmp_path / "a.wav")).seconds == 3


def test_a_file_of_floats_on_the_scale_of_int16_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.full(400, 3000.0), 16_000, subtype="FLOAT")
    for _ in range(2):
        load_audio(path, 16_000)
    (said,) = caplog.messages
    assert said == f"{path}: has samples beyond 8, expected [-1, 1]; divide by 32768 if they were int16"
