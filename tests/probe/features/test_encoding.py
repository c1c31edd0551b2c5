"""What is encoded has the same bits whenever, and with whatever else, it is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.probe.features.encoding import Encoding, encode_task, stamps_of
from oscine.probe.tasks.task import Task
from tests.kept_noise import EVERYTHING, ROWS, same, shuffled


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_row_has_the_same_bits_whichever_rows_it_is_taken_with(encoder: Encoder, task: Task, batch_size: int) -> None:
    encoding = Encoding(encoder, task, EVERYTHING, batch_size=batch_size, dtype="float32")
    together = encoding.take(torch.arange(ROWS))
    order = shuffled()
    assert same(encoding.take(order), together.take(order))
    for row in range(ROWS):
        assert same(encoding.take(torch.tensor([row])), together.take(slice(row, row + 1)))


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("workers", [0, 1])
def test_all_rows_at_once_have_the_bits_of_rows_that_are_taken(
    encoder: Encoder, task: Task, batch_size: int, workers: int
) -> None:
    together = encode_task(encoder, task, EVERYTHING, batch_size=batch_size, workers=workers)
    encoding = Encoding(encoder, task, EVERYTHING, batch_size=batch_size, dtype="float32")
    assert same(encoding.take(torch.arange(ROWS)), together)
    assert all(part.is_contiguous() for part in together)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"dtype": "int8"}, "no dtype 'int8'; choose from float16, float32"),
        ({"batch_size": 0}, "a batch of 0 clips"),
    ],
)
def test_what_is_not_known_is_refused(bat: Encoder, task: Task, how: dict[str, Any], complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint):
        Encoding(bat, task, EVERYTHING, **how)


def test_a_recording_in_a_tar_file_is_as_old_as_that(tmp_path: Path) -> None:
    (tmp_path / "shard.tar").write_bytes(bytes(1024))
    member, tar = stamps_of([str(tmp_path / "shard.tar/a.ogg"), str(tmp_path / "shard.tar")])
    assert member == tar
    assert tar[0] == 1024
