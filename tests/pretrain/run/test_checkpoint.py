"""A run's last two states are kept whole; whatever happens to the last, the run goes on from one of them."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from oscine.models.errors import OscineError
from oscine.pretrain.run.checkpoint import RunStates, before, newest_state, read_state, resumable


def state(step: int) -> dict[str, Any]:
    return {"global_step": step, "weights": torch.full((1000,), float(step))}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where two states were written, of steps 1 and 2."""
    path = tmp_path / "states" / "last.ckpt"
    states = RunStates()
    states.save_checkpoint(state(1), path)
    states.save_checkpoint(state(2), path)
    return path


def steps(path: Path) -> list[int]:
    return [read_state(file)["global_step"] for file in (before(path), path)]


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def test_the_last_two_states_are_kept(path: Path) -> None:
    assert steps(path) == [1, 2]
    states = RunStates()
    assert states.load_checkpoint(path)["global_step"] == 2
    states.save_checkpoint(state(3), path)
    assert steps(path) == [2, 3]
    assert names(path) == ["last.before.ckpt", "last.ckpt"]


def test_a_state_is_a_torch_file(path: Path) -> None:
    assert torch.equal(torch.load(path)["weights"], state(2)["weights"])


def test_the_same_step_again_does_not_push_out_the_one_before(path: Path) -> None:
    states = RunStates()
    states.load_checkpoint(path)
    states.save_checkpoint(state(2), path)
    assert steps(path) == [1, 2]


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_by_a_byte(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def flipped(path: Path) -> None:
    """In the middle of the weights, where torch does not notice it."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path)["weights"], state(2)["weights"])


def gone(path: Path) -> None:
    """A kill between the two renamings."""
    path.unlink()


@pytest.mark.parametrize("harm", [cut_short, cut_by_a_byte, emptied, flipped, gone])
def test_a_torn_state_is_passed_over_for_the_one_before(
    harm: Any, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    harm(path)
    assert resumable(path)
    states = RunStates()
    with caplog.at_level(logging.WARNING):
        assert torch.equal(states.load_checkpoint(path)["weights"], state(1)["weights"])
    (said,) = caplog.messages
    assert str(path) in said
    assert "taking the state before, of step 1" in said
    states.save_checkpoint(state(3), path)
    assert steps(path) == [1, 3], "a torn state has not pushed out the whole one"


def test_a_whole_state_is_read_without_a_word(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert newest_state(path)[1] == path
    assert caplog.messages == []


def test_two_torn_states_are_an_error(path: Path) -> None:
    flipped(path)
    cut_short(before(path))
    with pytest.raises(OscineError, match=r"last\.before\.ckpt is torn: cut short or changed"):
        newest_state(path)


def test_a_state_that_cannot_be_written_leaves_the_ones_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = RunStates()
    states.load_checkpoint(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: 1 / 0)  # stopped in the middle of it
        with pytest.raises(ZeroDivisionError):
            states.save_checkpoint(state(3), path)
    assert steps(path) == [1, 2]
    assert names(path) == ["last.before.ckpt", "last.ckpt"]


def test_what_a_killed_run_has_left_of_a_state_is_cleared(path: Path) -> None:
    (path.parent / ".last.next.123.part").write_bytes(b"half a state")
    RunStates().save_checkpoint(state(3), path)
    assert names(path) == ["last.before.ckpt", "last.ckpt"]
