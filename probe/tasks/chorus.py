"""Make a synthetic dawn chorus: a small labelled data set of made-up birds, the same bytes for the same seed.

Ten species sing to five recordists (both in chorus_sounds.py), who differ in all that a
recording picks up beside the bird: a probe that is judged on a recordist it has not heard meets a real shift.

    labels.csv                         path, label, fold (the recordist's), recordist, individual, sample_rate, seconds
    clips/RECORDIST/SPECIES_0.flac     5 s of one bird
    soundscapes/RECORDIST_0.flac       a minute of birds that overlap,
    soundscapes/RECORDIST_0.txt        and its Raven selection table: one row a song
    chorus.json                        the settings
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.fft import rfft
from pandas import DataFrame

from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.json_text import check_same_settings, read_json
from oscine.models.locks import lock_output
from oscine.models.progress import ShowProgress, show_nothing
from oscine.models.replace_outputs import is_empty
from oscine.probe.tasks.chorus_sounds import RECORDISTS, SPECIES, Array, Individual, hatch, record, sing, travel

CLIP, SOUNDSCAPE = 5.0, 60.0  # seconds
NEIGHBOURS = 3  # individuals of a species around a recordist
FLOCK = 6  # birds of a soundscape, each of another species
TABLE, MARK = "labels.csv", "chorus.json"
EDITION = 2  # one more whenever the same seed comes to make other bytes
COLUMNS = ("path", "label", "fold", "recordist", "individual", "sample_rate", "seconds")
RAVEN = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
    "Begin File", "File Offset (s)", "Species",
)  # fmt: skip


class Event(NamedTuple):
    """A song in a soundscape, from its first to its last sounding sample, in the band that holds 99 % of its energy."""

    begin: float  # seconds
    end: float
    low: float  # hertz
    high: float
    species: str


def make_chorus(
    out: Path,
    seed: int = 0,
    clips: int = 10,
    soundscapes: int = 1,
    progress: ShowProgress = show_nothing,
) -> Path:
    """Write the data set into a folder and return its table, which is written last: where it stands, all stands.

    `clips` of each species by each recordist; `soundscapes` of a minute by each recordist. `progress` is told how many files
    are written, of how many. A folder that holds this very data set is left as it is; one in which the same call was stopped
    is written anew; any other that is not empty is an error.
    """
    table, rows = out / TABLE, []
    songs = [(place, species, index) for place in RECORDISTS for species in SPECIES for index in range(clips)]
    minutes = [(place, index) for place in RECORDISTS for index in range(soundscapes)]
    files = [clip_path(*song) for song in songs] + [soundscape_path(*minute) for minute in minutes]
    with lock_output(out, "name another folder"):
        claim(out, {"edition": EDITION, "seed": seed, "clips": clips, "soundscapes": soundscapes})
        if all((out / path).is_file() for path in [Path(TABLE), *files]):
            return table
        table.unlink(missing_ok=True)
        for done, (place, species, index) in enumerate(songs, start=1):
            path, rate = clip_path(place, species, index), RECORDISTS[place].sample_rate
            write_flac(out / path, make_clip(seed, place, species, index), rate)
            bird, fold = f"{place}_{species}_{index % NEIGHBOURS}", list(RECORDISTS).index(place) + 1
            rows.append((path.as_posix(), species, fold, place, bird, rate, CLIP))
            progress(done, len(files))
        for done, minute in enumerate(minutes, start=len(songs) + 1):
            write_soundscape(out, seed, *minute)
            progress(done, len(files))
        write_table(table, COLUMNS, rows, ",")
    return table


def claim(out: Path, settings: dict[str, int]) -> None:
    """Mark an empty folder as the place of a data set; any other folder without this very mark is an error."""
    for name, least in {"seed": 0, "clips": 1, "soundscapes": 0}.items():
        if settings[name] < least:
            raise OscineError(f"{name} is {settings[name]}; it must be {least} or more")
    mark, remedy = out / MARK, "name a folder that is empty or does not exist"
    if mark.is_file():
        check_same_settings(read_json(mark, remedy), settings, complaint=f"{out} holds a data set with", remedy=remedy)
        return
    if out.exists() and not (out.is_dir() and is_empty(out)):
        raise OscineError(f"{out} holds something other than this data set; {remedy}")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(mark, (json.dumps(settings) + "\n").encode())


def make_clip(seed: int, recordist: str, species: str, index: int) -> Array:
    """Make 5 s of one bird that sings on and on: 16 bit [samples]. The clip depends on its key, not on other clips."""
    place = RECORDISTS[recordist]
    rng = generator(seed, "clip", recordist, species, index)
    bird = individual(seed, recordist, species, index % NEIGHBOURS)
    metres = rng.uniform(place.near, place.far)
    sound = np.zeros(round(CLIP * place.sample_rate))
    begin = round(rng.uniform(0.0, 0.5) * place.sample_rate)
    while begin < len(sound):
        song = sing(bird, place.sample_rate, rng)
        add(sound, travel(song, place, metres, rng), begin)
        begin += len(song) + round(rng.uniform(0.2, 0.6) * place.sample_rate)
    return record(sound, place, rng)


def make_soundscape(seed: int, recordist: str, index: int) -> tuple[Array, list[Event]]:
    """Make a minute in which several birds sing again and again: 16 bit [samples], and its songs in order of time."""
    place = RECORDISTS[recordist]
    rate = place.sample_rate
    rng = generator(seed, "soundscape", recordist, next(iter(SPECIES)), index)
    sound, events = np.zeros(round(SOUNDSCAPE * rate)), []
    for species in rng.choice(list(SPECIES), FLOCK, replace=False).tolist():
        bird = individual(seed, recordist, species, int(rng.integers(NEIGHBOURS)))
        metres = rng.uniform(place.near, place.far)
        begin = round(rng.uniform(0.0, 8.0) * rate)
        while begin + len(song := sing(bird, rate, rng)) <= len(sound):
            add(sound, travel(song, place, metres, rng), begin)
            end = begin + len(song)
            events.append(Event(begin / rate, end / rate, *band(song, rate), species))
            begin = end + round(rng.uniform(2.0, 10.0) * rate)
    return record(sound, place, rng), sorted(events)


def clip_path(recordist: str, species: str, index: int) -> Path:
    return Path("clips", recordist, f"{species}_{index}.flac")


def soundscape_path(recordist: str, index: int) -> Path:
    return Path("soundscapes", f"{recordist}_{index}.flac")


def write_soundscape(out: Path, seed: int, recordist: str, index: int) -> None:
    """Write a soundscape and, beside it, its Raven selection table."""
    path = out / soundscape_path(recordist, index)
    wave, events = make_soundscape(seed, recordist, index)
    rows = []
    for number, event in enumerate(events, start=1):
        begin, end = f"{event.begin:.6f}", f"{event.end:.6f}"  # a microsecond is finer than a sample
        low, high = f"{event.low:.1f}", f"{event.high:.1f}"
        rows.append((number, "Spectrogram 1", 1, begin, end, low, high, path.name, begin, event.species))
    write_flac(path, wave, RECORDISTS[recordist].sample_rate)
    write_table(path.with_suffix(".txt"), RAVEN, rows, "\t")


def individual(seed: int, recordist: str, species: str, number: int) -> Individual:
    """Make one of the birds that live around a recordist; the same in clips and soundscapes."""
    return hatch(SPECIES[species], generator(seed, "individual", recordist, species, number))


def generator(seed: int, what: str, recordist: str, species: str, number: int) -> np.random.Generator:
    """Seed random numbers that belong to one thing, whatever else is made before it."""
    lists = (("individual", "clip", "soundscape"), tuple(RECORDISTS), tuple(SPECIES))
    key = [names.index(name) for names, name in zip(lists, (what, recordist, species), strict=True)]
    return np.random.default_rng([seed, *key, number])


def add(sound: Array, wave: Array, begin: int) -> None:
    """Mix a wave into a sound, in place; what would sound after the end is lost."""
    wave = wave[: len(sound) - begin]
    sound[begin : begin + len(wave)] += wave


def band(song: Array, sample_rate: int) -> tuple[float, float]:
    """Return the frequencies in hertz between which 99 % of a song's energy lies."""
    samples = 2 ** (len(song) - 1).bit_length()  # a fast length for the transform
    energy = np.cumsum(np.abs(rfft(song, samples)) ** 2)
    low, high = np.searchsorted(energy, [0.005 * energy[-1], 0.995 * energy[-1]])
    return float(low * sample_rate / samples), float(high * sample_rate / samples)


def write_flac(path: Path, wave: Array, sample_rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, sample_rate, subtype="PCM_16", format="FLAC")


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str) -> None:
    text = DataFrame(list(rows), columns=list(columns)).to_csv(sep=delimiter, index=False, lineterminator="\n")
    write_whole(path, text.encode())
