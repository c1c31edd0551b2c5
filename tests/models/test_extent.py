"""What is read of a file is what it holds, whatever its header says of that."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from oscine.models import audio
from oscine.models.audio import AudioError, audio_info, load_audio
from oscine.models.extent import chunked

RATE, FRAMES = 16_000, 24_960  # whole blocks of every codec
SOUND = 0.2 * np.random.default_rng(0).standard_normal(FRAMES).astype(np.float32)

CONTAINERS = {  # name of the chunk of sound, where its size stands, how, and what it counts beside the sound
    ("WAV", "PCM_16"): (b"data", 4, "<I", 0),
    ("WAV", "PCM_24"): (b"data", 4, "<I", 0),
    ("WAV", "FLOAT"): (b"data", 4, "<I", 0),
    ("WAV", "PCM_U8"): (b"data", 4, "<I", 0),
    ("WAV", "GSM610"): (b"data", 4, "<I", 0),
    ("WAV", "G721_32"): (b"data", 4, "<I", 0),
    ("WAVEX", "PCM_16"): (b"data", 4, "<I", 0),
    ("RF64", "PCM_16"): (b"ds64", 16, "<Q", 0),
    ("W64", "PCM_16"): (b"data\xf3", 16, "<Q", 24),
    ("AIFF", "PCM_16"): (b"SSND", 4, ">I", 8),
    ("AIFF", "ULAW"): (b"SSND", 4, ">I", 8),
    ("CAF", "PCM_16"): (b"data", 4, ">Q", 4),
    ("AU", "PCM_16"): (b".snd", 8, ">I", 0),
    ("AU", "G721_32"): (b".snd", 8, ">I", 0),
}
BEHIND = {  # metadata as each container writes it
    "WAV": b"guan\x0c\0\0\0GUANO|Versio", "WAVEX": b"LIST\x0c\0\0\0INFOISFT\0\0\0\0", "RF64": b"iXML\x02\0\0\0<>",
    "AIFF": b"ANNO\0\0\0\x0chello world!", "CAF": b"info\0\0\0\0\0\0\0\x04\0\0\0\0",
    "W64": b"levl" + bytes(12) + (32).to_bytes(8, "little") + bytes(8),
}  # fmt: skip
CASES = pytest.mark.parametrize("how", CONTAINERS, ids="-".join)


def made(container: str, subtype: str | None = None, sound: np.ndarray = SOUND) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format=container, subtype=subtype)
    return file.getvalue()


def with_size(content: bytes, how: tuple[str, str], change: float | str) -> bytes:
    """The file with another size of its sound: a share of the right one, or a placeholder."""
    name, offset, form, more = CONTAINERS[how]
    place = content.index(name) + offset
    (right,) = struct.unpack_from(form, content, place)
    bits = 8 * struct.calcsize(form)
    sizes = {
        "zero": 0, "ones": 2**bits - 1, "sox": 0x7FFFF000, "arecord": 0x80000000, "largest": 2 ** (bits - 1) - 1,
        "file": right + 44,
    }  # fmt: skip
    size = sizes[change] if isinstance(change, str) else int((right - more) * change) // 4 * 4 + more
    return content[:place] + struct.pack(form, size) + content[place + struct.calcsize(form) :]


def read(path: Path, content: bytes, rate: int = RATE) -> torch.Tensor:
    path.write_bytes(content)
    waveform = load_audio(path, rate)
    assert len(waveform) == audio_info(path).frames
    return waveform


@CASES
@pytest.mark.parametrize("placeholder", ["zero", "ones", "sox", "arecord", "largest", "file"])
def test_a_header_that_leaves_the_length_open_is_no_complaint(
    how: tuple[str, str], placeholder: str, tmp_path: Path
) -> None:
    whole = read(tmp_path / "a", content := made(*how))
    assert torch.equal(read(tmp_path / "a", with_size(content, how, placeholder)), whole)
    assert audio_info(tmp_path / "a").note == ""


@CASES
def test_a_header_that_says_less_is_listed_with_both_numbers_and_all_is_read(
    how: tuple[str, str], tmp_path: Path
) -> None:
    whole = read(tmp_path / "a", content := made(*how))
    assert torch.equal(read(tmp_path / "a", with_size(content, how, 0.5)), whole)
    assert audio_info(tmp_path / "a").note.startswith("header: says 0.7")
    assert "but the file holds 1.560 s, which are used" in audio_info(tmp_path / "a").note


@CASES
def test_a_file_that_is_cut_short_is_listed_with_both_numbers(how: tuple[str, str], tmp_path: Path) -> None:
    whole = read(tmp_path / "a", content := made(*how))
    part = read(tmp_path / "a", content[: len(content) * 2 // 3])
    assert 0.5 * FRAMES < len(part) < 0.7 * FRAMES
    assert torch.equal(part[:-640], whole[: len(part) - 640])  # but for a block that is not whole
    assert audio_info(tmp_path / "a").note.startswith("truncated: holds ")
    assert " s of the 1.5" in audio_info(tmp_path / "a").note


@pytest.mark.parametrize("how", [how for how in CONTAINERS if how[0] in BEHIND], ids="-".join)
@pytest.mark.parametrize("change", ["zero", "ones", 0.5, 1.0])
def test_metadata_behind_the_sound_is_no_sound(how: tuple[str, str], change: float | str, tmp_path: Path) -> None:
    whole = read(tmp_path / "a", content := made(*how))
    changed = content if change == 1.0 else with_size(content, how, change)
    padded = changed + bytes(-len(changed) % (8 if how[0] == "W64" else 2))
    assert torch.equal(read(tmp_path / "a", padded + BEHIND[how[0]]), whole)
    assert bool(audio_info(tmp_path / "a").note) == (change == 0.5)


@pytest.mark.parametrize("how", [("WAV", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16")], ids="-".join)
def test_zeros_that_fill_up_a_cluster_are_no_sound(how: tuple[str, str], tmp_path: Path) -> None:
    whole = read(tmp_path / "a", content := made(*how))
    assert torch.equal(read(tmp_path / "a", content + bytes(4096)), whole)
    assert audio_info(tmp_path / "a").note == ""


def test_a_header_alone_holds_no_samples(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(with_size(made("WAV", "PCM_16"), ("WAV", "PCM_16"), "zero")[:44])
    with pytest.raises(AudioError, match="holds no samples"):
        audio_info(tmp_path / "a.wav")


def test_of_more_than_4_gb_all_is_read(tmp_path: Path) -> None:
    header, size = bytearray(made("WAV", "PCM_16")[:44]), 2**32 + 2 * RATE
    header[40:44] = (size % 2**32).to_bytes(4, "little")
    with (path := tmp_path / "a.wav").open("wb") as file:
        file.write(header)
        file.truncate(44 + size - 2)
        file.seek(0, io.SEEK_END)
        file.write(b"\0\x40")
    info = audio_info(path)
    assert info.frames == size // 2
    assert info.note.startswith("header: says 1.000 s, but the file holds 134218.728 s")
    assert load_audio(path, RATE, info.seconds - 1, 1.0)[-1] == 0.5


def test_formats_that_cannot_seek_are_read_from_their_beginning(tmp_path: Path) -> None:
    for subtype in ("GSM610", "G721_32", "NMS_ADPCM_16"):
        (path := tmp_path / "a.wav").write_bytes(made("WAV", subtype))
        whole = load_audio(path, RATE)
        assert len(whole) == FRAMES
        assert torch.equal(load_audio(path, RATE, 0.5, 0.25), whole[RATE // 2 : RATE // 2 + RATE // 4])


def with_total(content: bytes, total: int) -> bytes:
    """A FLAC with another number of samples: the 36 bits in its first block."""
    place = content.index(b"fLaC")
    number = int.from_bytes(content[place + 18 : place + 26], "big") >> 36 << 36 | total
    return content[: place + 18] + number.to_bytes(8, "big") + content[place + 26 :]


@pytest.mark.parametrize("total", [0, 1, 12_000, 23_000, 2**36 - 1])
@pytest.mark.parametrize("silent", [False, True])
def test_a_flacs_last_frame_says_how_long_it_is(total: int, silent: bool, tmp_path: Path) -> None:
    whole = read(tmp_path / "a", content := made("FLAC", sound=SOUND * (not silent)))
    note = {0: "", 1: "header: says 0.000 s", 12_000: "header: says 0.750 s", 23_000: "header: says 1.438 s"}
    for before, behind in ((b"", b""), (b"ID3\4\0\0\0\0\0\x0a" + bytes(10), b"TAG" + bytes(125))):
        assert torch.equal(read(tmp_path / "a", before + with_total(content, total) + behind), whole)
        assert audio_info(tmp_path / "a").note.startswith(
            note.get(total, "truncated: holds 1.560 s of the 4294967.296 s")
        )
    assert torch.equal(load_audio(tmp_path / "a", RATE, 1.2, 0.2), whole[19_200:22_400])
    cut = with_total(made("FLAC"), 0)[: len(made("FLAC")) * 2 // 3]
    assert len(part := read(tmp_path / "a", cut)) % 4096 == 0
    assert torch.equal(part, read(tmp_path / "a", made("FLAC"))[: len(part)])


def test_a_flac_of_which_no_frame_is_found_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(with_total(made("FLAC"), 0)[:200])
    with pytest.raises(AudioError, match="does not say how long it is"):
        audio_info(tmp_path / "a.flac")


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_an_mp3s_frames_are_counted_where_its_first_one_does_not_say_how_many(
    mode: str, rate: int, tmp_path: Path
) -> None:
    quiet = np.concatenate([SOUND, 0 * SOUND, SOUND])
    soundfile.write(path := tmp_path / "a.mp3", quiet, rate, bitrate_mode=mode, compression_level=0.8)
    content, whole = path.read_bytes(), load_audio(path, rate)
    place = max(content.find(b"Xing"), content.find(b"Info"))

    def changed(offset: int, bits: bytes) -> bytes:
        return content[: place + offset] + bits + content[place + offset + len(bits) :]

    more = {"frames": changed(8, (9999).to_bytes(4, "big")), "both": changed(8, b"\xff" * 8)}
    less = {"both": changed(8, (9).to_bytes(4, "big") + (999).to_bytes(4, "big"))}
    for kind, files in (("truncated: holds ", more), ("header: says ", less), ("", {"open": changed(8, bytes(4))})):
        for name, file in files.items():
            part = read(path, file, rate)
            assert len(whole) <= len(part) < len(whole) + 2 * 1152, name
            assert torch.equal(part[: len(whole) - 2304], whole[: len(whole) - 2304])
            assert audio_info(path).note.startswith(kind)
            assert bool(audio_info(path).note) == bool(kind)
    without = read(path, changed(0, bytes(4)), rate)  # which no decoder can know to begin late
    assert len(whole) <= len(without) < len(whole) + 4 * 1152
    torch.testing.assert_close(
        load_audio(path, rate, 0.5, 0.25), without[rate // 2 : rate // 2 + rate // 4], rtol=0, atol=1e-5
    )
    twice = read(path, content + content, rate)
    assert len(twice) > 1.9 * len(whole)


def test_of_an_mp3_that_is_damaged_and_does_not_say_its_length_the_place_is_said(tmp_path: Path) -> None:
    soundfile.write(path := tmp_path / "a.mp3", np.tile(SOUND, 4), RATE)
    content = bytearray(path.read_bytes())
    content[content.index(b"Xing") : content.index(b"Xing") + 4] = bytes(4)
    content[len(content) // 2 : len(content) * 3 // 4] = bytes(len(content) // 4)
    path.write_bytes(content)
    assert "damaged: has no frames of its kind from byte" in audio_info(path).note


def test_ogg_streams_one_behind_another_are_said(tmp_path: Path) -> None:
    assert len(read(tmp_path / "a.ogg", made("OGG") + made("OGG", "OPUS"))) == FRAMES
    assert audio_info(tmp_path / "a.ogg").note.startswith("header: holds several Ogg streams")


@pytest.mark.parametrize("rate", [0, 1, 99, 2**31 - 1, 2**32 - 1])
def test_a_rate_that_no_sound_has_is_refused_with_the_reason(rate: int, tmp_path: Path) -> None:
    content = made("WAV")
    (path := tmp_path / "a.wav").write_bytes(content[:24] + rate.to_bytes(4, "little") + content[28:])
    with pytest.raises(AudioError, match=rf"{rate:,} (Hz|samples a second by its header, expected 100 to 10,000,000)"):
        audio_info(path)


def test_what_no_header_promises_takes_no_memory(tmp_path: Path) -> None:
    (path := tmp_path / "a.flac").write_bytes(with_total(made("FLAC", sound=SOUND), 2**36 - 1)[:-3])
    assert len(load_audio(path, RATE)) < FRAMES


def test_a_thousand_chunks_before_the_sound_are_enough() -> None:
    file = io.BytesIO(b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 2000 + made("WAV")[12:])
    assert chunked(file, file.seek(0, io.SEEK_END)) is None


def test_a_file_is_measured_once_while_it_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    monkeypatch.setattr(audio, "chunked", lambda file, size: measured.append(size))
    path = tmp_path / "a.mp3"
    for seconds in (1.0, 1.0, 2.0):
        if not path.exists() or seconds > 1:
            soundfile.write(path, np.zeros(round(seconds * 16000)), 16000)
        assert abs(audio.audio_info(path).seconds - seconds) < 0.2
    assert len(measured) == 2
