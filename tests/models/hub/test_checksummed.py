"""States that fit their seal and are none of torch's all the same: a stranger can seal anything."""

from __future__ import annotations

import os
import pickle
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
import torch

from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.models.hub.checksummed import load_checksummed, save_checksummed
from oscine.pretrain.run.checkpoint import encoder_with_weights


class Evil:
    """An object that makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("pwned",)


def saved(content: object) -> bytes:
    file = BytesIO()
    torch.save(content, file)
    return file.getvalue()


CONTENTS = {
    "nothing": b"",
    "text": b"hello world" * 10,
    "a pickle": pickle.dumps(Evil()),
    "an object": saved({"a": Evil()}),
    "half a file": saved({"a": torch.zeros(5)})[:200],
    "a zip's beginning": b"PK\x03\x04" + bytes(60),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_is_sealed_and_no_state_is_refused_in_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "state.ckpt"
    path.write_bytes(CONTENTS[kind] + sha256(CONTENTS[kind]).digest())
    with pytest.raises(OscineError, match=r"state\.ckpt cannot be read: ") as caught:
        load_checksummed(path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert not Path("pwned").exists()


CONFIG = BAT(24, 1, 2, seconds=0.6).config
STATES = {
    "a list": [1],
    "an empty dict": {},
    "a step that is no number": {"global_step": "x", "encoder": {}, "state_dict": {}},
    "no weights": {"global_step": 3, "encoder": {"architecture": "BAT", "config": CONFIG}},
    "weights by number": {"global_step": 3, "encoder": {}, "state_dict": {5: torch.zeros(2)}},
    "weights that are none": {"global_step": 3, "encoder": {}, "state_dict": {"encoder.x": 3}},
    "no encoder": {"global_step": 3, "state_dict": {"encoder.x": torch.zeros(2)}},
    "a huge encoder": {
        "global_step": 3,
        "encoder": {"architecture": "BAT", "config": CONFIG | {"depth": 10**9}},
        "state_dict": {"encoder.x": torch.zeros(2)},
    },
    "another encoder": {
        "global_step": 3,
        "encoder": {"architecture": "BAT", "config": CONFIG | {"dim": 4096}},
        "state_dict": {"encoder.x": torch.zeros(2)},
    },
}


@pytest.mark.parametrize("kind", STATES)
def test_a_run_state_that_holds_something_else_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "states/last.ckpt"
    path.parent.mkdir()
    save_checksummed(path, STATES[kind])
    with pytest.raises(OscineError, match=r"last\.ckpt") as caught:
        encoder_with_weights(str(tmp_path))
    assert "\n" not in str(caught.value)
