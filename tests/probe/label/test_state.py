"""A state holds what strategies look at, and refuses in a line what they would choose nonsense by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.probe.label import State


def given(**changed: Any) -> dict[str, Any]:
    """Four clips of three classes, the first of which is labelled."""
    fields = {
        "features": np.arange(8.0).reshape(4, 2),
        "probabilities": np.full((4, 3), 1 / 3),
        "labelled": [0],
        "labels": [2],
        "candidates": [3, 1, 2],
    }
    return fields | changed


def several(**changed: Any) -> dict[str, Any]:
    return given(labels=[[0, 1, np.nan]], probabilities=np.full((4, 3), 0.9), several=True, **changed)


def test_numbers_are_float64_and_candidates_rise() -> None:
    state = State(**given(features=np.zeros((4, 2), dtype=np.float32)))
    assert state.features.dtype == np.float64
    assert state.candidates.tolist() == [1, 2, 3]
    assert state.classes == 3


def test_positives_are_counted_and_what_is_not_known_is_none() -> None:
    assert State(**given(labelled=[0, 1], labels=[2, 2], candidates=[2])).positives.tolist() == [0, 0, 2]
    assert State(**several()).positives.tolist() == [0, 1, 0]


def test_nothing_need_be_labelled_and_no_probe_be_there() -> None:
    state = State(np.zeros((4, 2)), None, [], [], range(4))  # type: ignore[arg-type]
    assert len(state.labels) == 0
    assert State(**several() | {"labelled": [], "labels": []}).labels.shape == (0, 3)


def test_among_fewer_candidates_nothing_else_changes() -> None:
    state = State(**given())
    fewer = state.among(np.array([3, 1]))
    assert fewer.candidates.tolist() == [1, 3]
    assert fewer.features is state.features
    assert state.candidates.tolist() == [1, 2, 3]


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(
        OscineError, match=r"^the state has no samples, which this strategy needs; give State\(..., sam"
    ):
        State(**given()).need("samples")


def off(value: float) -> np.ndarray:
    features = np.zeros((4, 2))
    features[2, 1] = value
    return features


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (given(features=off(np.nan)), "features of clip 2 have nan, expected finite numbers"),
        (given(features=off(-np.inf)), "features of clip 2 have -inf"),
        (given(probabilities=off(np.inf)), "probabilities of clip 2 have inf"),
        (given(weight=[[0, 0], [0, np.nan], [0, 0]]), "weight of class 1 have nan"),
        (given(features=np.zeros(4)), r"features of shape \[4\], expected \[clips, dim\]"),
        (given(probabilities=np.full((4, 3), 0.3)), "probabilities of clip 0 sum to 0.9, expected 1; several=True says"),
        (given(probabilities=np.ones((4, 1))), "probabilities of 1 class, expected 2 or more; several=True"),
        (given(probabilities=np.array([[0.5, 0.5], [-0.5, 1.5]] * 2)), "probability -0.5 of clip 1 for class 0"),
        (several() | {"probabilities": np.full((4, 3), 1.5)}, "probability 1.5 of clip 0 for class 0, expected 0 to 1"),
        (given(probabilities=np.full((3, 2), 0.5)), r"probabilities of shape \[3, 2\], expected 4 clips"),
        (given(bias=np.zeros(2)), r"bias of shape \[2\], expected 3 classes"),
        (given(weight=np.zeros((3, 5))), r"weight of shape \[3, 5\], expected 2 dim"),
        (given(candidates=[1, 4]), "clip 4 in candidates is not in the table, whose 4 clips count from 0"),
        (given(candidates=[1, 1]), "clip 1 is 2 times in candidates, expected once"),
        (given(candidates=[True, False]), "candidates is bool of shape"),
        (given(candidates=[1.5]), "candidates is float64 of shape"),
        (given(candidates=[0, 1]), "clip 0 is labelled and a candidate"),
        (given(labelled=[-1]), "clip -1 in labelled is not in the table"),
        (given(labels=[3]), "label 3 of clip 0, expected the number of a class below 3"),
        (given(labels=[-1]), "label -1 of clip 0"),
        (given(labels=[0.5]), "label 0.5 of clip 0"),
        (given(labels=[[0, 1, 0]]), r"labels of shape \[1, 3\] for 1 labelled clips, expected \[1\]"),
        (given(labels=[1], probabilities=None, labelled=[0, 1], candidates=[2]), r"labels of shape \[1\] for 2 labelled"),
        (several() | {"labels": [[0, 2, 0]]}, "label 2 of clip 0 for class 1, expected 0 to 1, or NaN where unknown"),
        (several() | {"labels": [1]}, r"labels of shape \[1\] for 1 labelled clips, expected \[1, 3\]: a row of 0 and 1"),
        (several() | {"labels": [[0, 1]]}, r"labels of shape \[1, 2\] for 1 labelled clips, expected \[1, 3\]"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_a_line_that_names_the_clip(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(OscineError, match=f"^{said}") as raised:
        State(**fields)
    assert "\n" not in str(raised.value)
