"""A wood with three birds of made-up sounds, embedded; and the page of it, served by the command as a person calls it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from oscine.models.embed.embed import embed_recordings
from oscine.models.hub.folder import save_pretrained
from oscine.models.zoo import create_model
from tests.tiny_encoders import small_encoder

RATE, SECONDS = 16_000, 4.0
BIRDS = {"dunnock": 800.0, "robin": 2500.0, "wren": 5500.0}  # Hz


class Wood(NamedTuple):
    """A folder of recordings, named after the bird in each; their table, and the list of birds."""

    folder: Path
    table: Path
    birds: Path


@pytest.fixture(scope="session")
def wood(tmp_path_factory: pytest.TempPathFactory) -> Wood:
    """Ninety-six clips of half a second, in twelve recordings."""
    place, generator = tmp_path_factory.mktemp("wood"), np.random.default_rng(0)
    (place / "recordings").mkdir()
    times = np.arange(round(RATE * SECONDS)) / RATE
    for number in range(12):
        bird = list(BIRDS)[number % 3]
        song = 0.3 * np.sin(2 * np.pi * BIRDS[bird] * times * (1 + 0.02 * number)) * (np.sin(9 * times) > -0.5)
        soundfile.write(
            place / f"recordings/{bird}_20240501_04{number:02d}00.wav",
            song + 0.02 * generator.normal(size=len(times)),
            RATE,
        )
    encoder = create_model(f"local-dir:{save_pretrained(small_encoder(), place / 'encoder')}")
    embed_recordings(encoder, place / "recordings", place / "birds.parquet", workers=0)
    (place / "birds.txt").write_text("\n".join(BIRDS) + "\n")
    return Wood(place / "recordings", place / "birds.parquet", place / "birds.txt")


class Served(NamedTuple):
    """A page that is served by a process of its own."""

    process: subprocess.Popen[str]
    address: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> str:
        """Stop it as Ctrl-C does; return what it said then."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=60)[0]


@pytest.fixture
def serve(wood: Wood, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Serve the page of the wood, with more options, until it can be opened; the labels are in `tmp_path / "labels"`."""
    started: list[Served] = []

    def serve(*options: str) -> Served:
        call = ["label", "page", str(wood.table), "--recordings", str(wood.folder), "--classes", str(wood.birds)]
        more = ["--labels", str(tmp_path / "labels"), "--name", "anna", "--port", "0", "--no-browser", *options]
        process = subprocess.Popen(
            [sys.executable, "-m", "oscine", *call, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        said = ""
        while not (found := re.search(r"label here: (\S+)\n", said)):
            line = process.stdout.readline()
            assert line, said
            said += line
        started.append(Served(process, found[1]))
        return started[-1]

    yield serve
    for one in started:
        if one.process.poll() is None:
            one.kill()
