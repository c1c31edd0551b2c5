"""What is read of a file is what it holds, whatever its header says of that."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from oscine.models.audio import load as audio
from oscine.models.audio.load import AudioError, audio_info, load_audio
from oscine.models.audio.pcm_length import measure_pcm

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


ZEROS = bytes(2**18)  # of a file that was made as long as it might become


@CASES
@pytest.mark.parametrize("size", ["zero", "ones", "sox", 0.5, 1.0])
def test_many_zeros_behind_the_sound_are_left_out_and_said(
    how: tuple[str, str], size: float | str, tmp_path: Path
) -> None:
    content = made(*how)
    content += bytes(-len(content) % 8)
    whole = read(tmp_path / "a", content)
    changed = content if size == 1.0 else with_size(content, how, size)
    with_zeros = read(tmp_path / "a", changed + ZEROS)
    assert abs(len(with_zeros) - len(whole)) < 640  # of which some codecs make a block
    assert torch.equal(with_zeros[: FRAMES - 640], whole[: FRAMES - 640])
    note = audio_info(tmp_path / "a").note
    assert note.startswith("header: ")
    assert " s of zeros, which are left out" in note
    assert ("says 0.7" in note) == (size == 0.5)


def test_where_the_first_bytes_say_a_files_length_the_sound_ends_there(tmp_path: Path) -> None:
    path, content = tmp_path / "a.wav", with_size(made("WAV"), ("WAV", "PCM_16"), "zero")
    whole = read(path, made("WAV"))

    def with_length(size: int) -> bytes:
        return content[:4] + size.to_bytes(4, "little") + content[8:]

    assert torch.equal(read(path, with_length(len(content) - 8) + bytes(9000)), whole)
    assert audio_info(path).note == ""
    silent = content + bytes(2**18)  # which is sound, as the file says
    assert len(read(path, silent[:4] + (len(silent) - 8).to_bytes(4, "little") + silent[8:])) == FRAMES + 2**17
    assert audio_info(path).note == ""
    cut = read(path, with_length(len(content) - 8)[: 44 + FRAMES])
    assert torch.equal(cut, whole[: FRAMES // 2])
    assert audio_info(path).note.startswith("truncated: holds 0.780 s of the 1.560 s that its header promises")
    assert torch.equal(read(path, with_length(36 + FRAMES)), whole)
    assert audio_info(path).note.startswith("header: says 0.780 s, but the file holds 1.560 s, which are used")
    twice = made("WAV")[:40] + (4 * FRAMES).to_bytes(4, "little") + made("WAV")[44:]
    assert torch.equal(read(path, twice), whole)  # its first bytes say that it is whole
    assert audio_info(path).note.startswith("header: says 3.120 s, but the file holds 1.560 s, which are used")


def test_zeros_alone_are_no_recording(tmp_path: Path) -> None:
    (path := tmp_path / "a.wav").write_bytes(made("WAV")[:4] + bytes(4) + made("WAV")[8:40] + bytes(4) + ZEROS)
    with pytest.raises(AudioError, match="holds zeros alone, behind a header that does not say how long it is"):
        audio_info(path)


SIZE = 1_900_000_000  # of a long recording, in bytes
OPEN = (0, 0x7FFF0000, 0x7FFFF000, 0x7FFFFF00, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFDB)
REAL = (0x7F000100, 0x7FFE0000, 0x7FFFE000, 0x7FFFFF80, 0x7FFFFFD4, 0x80000100, 0xFFFFE000, 0xFFFFFF00)


def long_file(path: Path, header: bytes, size: int) -> Path:
    """Write a header and so many bytes of sound, all but the last frame zeros, which take no room on the disk."""
    with path.open("wb") as file:
        file.write(header)
        file.truncate(44 + size - 2)
        file.seek(0, io.SEEK_END)
        file.write(b"\0\x40")
    return path


@pytest.mark.parametrize("size", [*OPEN, *REAL])
def test_a_long_recording_that_was_cut_is_told_from_one_of_unknown_length(size: int, tmp_path: Path) -> None:
    whole = (size + 36) % 2**32
    header = b"RIFF" + whole.to_bytes(4, "little") + made("WAV")[8:40] + size.to_bytes(4, "little")
    info = audio_info(long_file(tmp_path / "a.wav", header, SIZE))
    assert info.frames == SIZE // 2
    assert info.note.startswith("truncated: holds 59375.000 s of the ") == (size in REAL)
    assert bool(info.note) == (size in REAL)


@pytest.mark.parametrize("block", [3, 6, 12])
def test_sox_rounds_its_placeholder_down_to_whole_frames(block: int, tmp_path: Path) -> None:
    content = made("WAV", "PCM_24", np.stack([SOUND] * (block // 3), 1))
    place = content.index(b"data") + 4
    size = 0x7FFFF000 // block * block
    (tmp_path / "a.wav").write_bytes(content[:place] + size.to_bytes(4, "little") + content[place + 4 :])
    assert audio_info(tmp_path / "a.wav") == (FRAMES, RATE, block // 3, "")


def test_a_header_alone_holds_no_samples(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(with_size(made("WAV", "PCM_16"), ("WAV", "PCM_16"), "zero")[:44])
    with pytest.raises(AudioError, match="holds no samples"):
        audio_info(tmp_path / "a.wav")


def test_of_more_than_4_gb_all_is_read(tmp_path: Path) -> None:
    header, size = bytearray(made("WAV", "PCM_16")[:44]), 2**32 + 2 * RATE
    header[40:44] = (size % 2**32).to_bytes(4, "little")
    info = audio_info(path := long_file(tmp_path / "a.wav", header, size))
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


def test_what_looks_like_a_frame_within_a_flacs_last_one_is_none(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, FRAMES)  # which FLAC writes as it is: any byte is a sample's
    content = bytearray(made("FLAC", sound=noise))
    before, last = (next(re.finditer(b"\xff\xf8..%c" % number, content, re.DOTALL)).start() for number in (5, 6))
    content[last + 100 : last + 116] = content[before : before + 16]  # its head, with the checksum that fits
    content[-2:] = flac_checksum(bytes(content[last:-2])).to_bytes(2, "big")
    for total in (FRAMES, 0):
        assert len(read(tmp_path / "a.flac", with_total(bytes(content), total))) == FRAMES
        assert audio_info(tmp_path / "a.flac").note == ""


def test_a_flac_whose_last_frame_is_not_whole_is_listed(tmp_path: Path) -> None:
    assert len(read(tmp_path / "a.flac", made("FLAC")[:-10])) == FRAMES // 4096 * 4096
    assert audio_info(tmp_path / "a.flac").note.startswith("truncated: holds 1.536 s of the 1.560 s")
    for behind in (bytes(2**18), bytes(range(256)) * 9):  # which is no sound
        assert len(read(tmp_path / "a.flac", made("FLAC") + behind)) == FRAMES
        assert audio_info(tmp_path / "a.flac").note == ""


def flac_checksum(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x8005 if crc >> 15 else 0)) & 0xFFFF
    return crc


def ape(fields: bytes) -> bytes:
    ends = [
        b"APETAGEX" + struct.pack("<4I", 2000, len(fields) + 32, 1, flags) + bytes(8) for flags in (10 << 28, 8 << 28)
    ]
    return ends[0] + fields + ends[1]


ID3 = b"ID3\4\0\0\0\0\0\x0a" + bytes(10)
LYRICS = b"LYRICSBEGIN" + b"LYR00005hello" * 40
TAGS = {
    "ID3v1": b"TAG" + b"x" * 125, "ID3v1 and more": b"TAG+" + b"y" * 223 + b"TAG" + b"x" * 125, "APE": ape(b"k" * 100),
    "APE, ID3v1": ape(b"k" * 3000) + b"TAG" + b"x" * 125, "Lyrics3": LYRICS + b"LYRICSEND" + b"TAG" + b"x" * 125,
    "Lyrics3v2, APE": LYRICS + b"%06dLYRICS200" % len(LYRICS) + ape(b"k" * 100), "ID3v2": ID3 + b"3DI" + ID3[3:10],
}  # fmt: skip


@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("how", [*CONTAINERS, ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_tags_behind_the_sound_are_no_sound(
    how: tuple[str, str], tags: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    contents = [made(*how)]
    contents += [with_size(contents[0], how, "ones"), with_size(contents[0], how, 0.5)] if how in CONTAINERS else []
    if how[0] == "MP3":
        contents.append(contents[0].replace(b"Xing", bytes(4)).replace(b"Info", bytes(4)))
    for content in contents:
        content += bytes(-len(content) % 8) if how in CONTAINERS else b""
        whole = read(tmp_path / "a", content)
        note = audio_info(tmp_path / "a").note
        assert torch.equal(read(tmp_path / "a", content + TAGS[tags]), whole)
        assert audio_info(tmp_path / "a").note == note
    assert capfd.readouterr().err == ""  # where libmpg123 speaks


@pytest.mark.parametrize(
    "how", [*CONTAINERS, ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
)
def test_tags_before_the_sound_are_no_sound(how: tuple[str, str], tmp_path: Path) -> None:
    whole = read(tmp_path / "a", content := made(*how))
    assert torch.equal(read(tmp_path / "a", ID3 + content), whole)
    assert torch.equal(load_audio(tmp_path / "a", RATE, 0.5, 0.5), whole[RATE // 2 : RATE])
    assert audio_info(tmp_path / "a").note == ""


def test_a_codec_that_is_not_read_is_named_in_either_order_of_bytes(tmp_path: Path) -> None:
    for order in ("LITTLE", "BIG"):
        soundfile.write(path := tmp_path / "a.wav", SOUND, RATE, endian=order)
        content = bytearray(path.read_bytes())
        place = content.index(b"fmt ") + 8
        content[place : place + 2] = (0x1234).to_bytes(2, order.lower())  # type: ignore[arg-type]
        path.write_bytes(content)
        with pytest.raises(AudioError, match=r"\(WAV of codec 0x1234, 1 channels, 16,000 Hz\)"):
            audio_info(path)


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


@pytest.mark.parametrize("long", [False, True])
def test_ogg_streams_one_behind_another_are_read_as_one(long: bool, tmp_path: Path) -> None:
    sounds = [np.tile(SOUND, 20 if long else 1), np.tile(SOUND[::-1], 16 if long else 2), SOUND]
    pieces = [made("OGG", sound=sounds[0]), made("OGG", "OPUS", sounds[1]), made("OGG", sound=sounds[2])]
    wholes = [read(tmp_path / "a.ogg", piece) for piece in pieces]
    whole = read(tmp_path / "a.ogg", b"".join(pieces))
    assert torch.equal(whole, torch.cat(wholes))
    assert audio_info(tmp_path / "a.ogg").note == ""
    total = len(whole) / RATE
    for start in np.linspace(0, total - 0.01, 23):
        first = round(start * RATE)
        part = load_audio(tmp_path / "a.ogg", RATE, float(start), 0.5)
        torch.testing.assert_close(part, whole[first : first + RATE // 2], rtol=0, atol=1e-5)


def test_ogg_streams_of_one_number_are_two_all_the_same(tmp_path: Path) -> None:
    first, second = (numbered(made("OGG", sound=np.tile(SOUND, times)), 7) for times in (20, 8))
    whole = torch.cat([read(tmp_path / "a.ogg", first), read(tmp_path / "a.ogg", second)])
    assert torch.equal(read(tmp_path / "a.ogg", first + second), whole)


def test_of_ogg_streams_that_differ_those_before_are_read_and_both_numbers_said(tmp_path: Path) -> None:
    stereo = made("OGG", sound=np.stack([SOUND, SOUND], 1))
    other = io.BytesIO()
    soundfile.write(other, SOUND, 22_050, format="OGG")
    for odd, said in ((stereo, "of 16,000 Hz and 2 channels"), (other.getvalue(), "of 22,050 Hz and 1 channel")):
        assert len(read(tmp_path / "a.ogg", made("OGG") + made("OGG") + odd)) == 2 * FRAMES
        note = audio_info(tmp_path / "a.ogg").note
        assert note.startswith("header: holds 3 Ogg streams one behind another, of 16,000 Hz and 1 channel and then")
        assert said in note
        assert "what comes before, 3.120 s, is used" in note
    damaged = made("OGG")[:58] + bytes(100) + made("OGG")[158:]
    assert len(read(tmp_path / "a.ogg", made("OGG") + damaged)) == FRAMES
    assert audio_info(tmp_path / "a.ogg").note.startswith(
        "damaged: holds 2 Ogg streams one behind another, of which number 2"
    )


def numbered(content: bytes, number: int) -> bytes:
    """An Ogg stream with another number, and pages' checksums that fit."""
    made, place = b"", 0
    while place < len(content):
        count = content[place + 26]
        length = 27 + count + sum(content[place + 27 : place + 27 + count])
        page = bytearray(content[place : place + length])
        page[14:18], page[22:26] = number.to_bytes(4, "little"), bytes(4)
        page[22:26] = ogg_checksum(bytes(page)).to_bytes(4, "little")
        made, place = made + page, place + length
    return made


def ogg_checksum(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


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
    assert measure_pcm(file, file.seek(0, io.SEEK_END)) is None


def test_a_file_is_measured_once_while_it_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    monkeypatch.setattr(audio, "measure_pcm", lambda file, size: measured.append(size))
    path = tmp_path / "a.mp3"
    for seconds in (1.0, 1.0, 2.0):
        if not path.exists() or seconds > 1:
            soundfile.write(path, np.zeros(round(seconds * 16000)), 16000)
        assert abs(audio.audio_info(path).seconds - seconds) < 0.2
    assert len(measured) == 2
