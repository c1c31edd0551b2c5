"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from oscine.models.checkpoints import ARCHITECTURES
from oscine.models.encoders.names import ENCODERS
from oscine.models.hub.layouts import KEY_MAPPERS
from oscine.models.plugins.load import allowed
from oscine.pretrain.methods import METHODS
from oscine.probe.heads.registry import PROBES
from oscine.probe.label.strategies.registry import STRATEGIES

ROOT = Path(__file__).resolve().parents[1]

if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and tests of a closed terminal do not
torch.set_num_threads(1)  # tensors this small gain nothing from more, and sums keep their order
os.environ["OMP_NUM_THREADS"] = "1"  # in the processes that tests start, too


EXPORTING = re.compile(r"export_onnx|onnx_bytes|torch\.export|\"export\"|encode\.export|import export|onnx_models")


@cache
def place(path: Path) -> int:
    """Return when a file of tests runs: at first, of those that export the ones that fork before the others."""
    text = path.read_text(encoding="utf-8")
    return (2 - ("tests.forked" in text)) * bool(EXPORTING.search(text))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that export last: in a process in which torch.export ran, forked processes cannot train any more."""
    items.sort(key=lambda item: place(item.path))


class Golden(dict[str, Tensor]):
    """Reference tensors that the authors' public code made."""

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name begins so, under the rest of their names."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.items() if name.startswith(prefix)}


@pytest.fixture(scope="session")
def golden_bat() -> Golden:
    return Golden(load_file(ROOT / "tests/golden/bat.safetensors"))


@pytest.fixture(scope="session")
def golden_bird_mae() -> Golden:
    return Golden(load_file(ROOT / "tests/golden/birdmae.safetensors"))


@pytest.fixture(scope="session")
def golden_audiomosaic() -> Golden:
    return Golden(load_file(ROOT / "tests/golden/audiomosaic.safetensors"))


@pytest.fixture(scope="session")
def golden_convnext() -> Golden:
    return Golden(load_file(ROOT / "tests/golden/convnext.safetensors"))


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Real recordings, which lie beside the checkout where the project is developed and are not part of it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real recordings beside the checkout")
    return folder


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Other people's code, for one test: what it registers and imports is forgotten afterwards."""
    ours = (METHODS, PROBES, ENCODERS, STRATEGIES)
    known = [*(one.registered for one in ours), ARCHITECTURES, KEY_MAPPERS, allowed]
    before, modules = [dict(one) for one in known], {*sys.modules}
    monkeypatch.setattr(sys, "path", [*sys.path])
    try:
        yield
    finally:
        for one, was in zip(known, before):
            one.clear()
            one.update(was)
        for name in {*sys.modules} - modules:
            written_here = Path(getattr(sys.modules[name], "__file__", None) or "/")
            if tmp_path.resolve() in written_here.resolve().parents:
                del sys.modules[name]


@pytest.fixture
def bfloat16() -> Iterator[None]:
    """Mixed precision, as in training on a GPU.

    Without oneDNN, which refuses bfloat16 on virtual machines whose processor announces matrix units that it then withholds.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TF32 acceleration")  # the switch speaks of Intel's GPUs
        with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", torch.bfloat16):
            yield
