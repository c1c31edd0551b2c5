"""The benchmark of encoders counts what a transformer has to compute, and leaves out what is in ONNX files."""

from __future__ import annotations

import pytest
from encoders import computed_here, encoders, flop_of
from step_flop import block, embedding

from oscine.models import create_model


def test_it_counts_the_products_of_blocks_and_embedding() -> None:
    encoder = create_model("bird_mae_tiny").eval()
    patches = encoder.grid[0] * encoder.grid[1]
    expected = embedding(encoder.dim, patches) + encoder.depth * block(encoder.dim, 1 + patches)
    assert flop_of(encoder) == pytest.approx(expected, rel=0.1)  # the filter bank comes on top


def test_it_prints_a_row_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    encoders(["bat_tiny"], threads=1, clips=1, rounds=1)
    [_, _, row] = capsys.readouterr().out.splitlines()
    assert row.startswith("| bat_tiny | 3.0 M | 10.23 s |")
    assert "bat_tiny" in computed_here()
    assert "perch_v2" not in computed_here()
