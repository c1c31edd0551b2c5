"""What settings are refused with: warm-ups that cannot be, and work that was begun with others."""

from __future__ import annotations

import pytest

from oscine.models.errors import OscineError
from oscine.models.json_text import check_same_settings
from oscine.models.settings_checks import warmup_steps


@pytest.mark.parametrize(
    ("warmup", "steps", "expected"),
    [
        (0, 10, 0),
        (0.0, 10, 0),
        (1, 2, 1),
        (99, 100, 99),
        (99.0, 100, 99),
        (0.1, 300, 30),
        (0.999, 10, 9),  # one step is left to fall in
        (0.1, 1, 0),
        # As published: Bird-MAE's three sizes, BAT, both fits.
        (0.09375, 166_000, 15_562),
        (0.09375, 249_000, 23_344),
        (0.09375, 332_000, 31_125),
        (0.125, 400_000, 50_000),
        (0.067, 1_280, 86),
        (0.067, 200, 13),
    ],
)
def test_a_share_of_the_steps_is_rounded_and_a_number_of_steps_is_itself(
    warmup: float, steps: int, expected: int
) -> None:
    found = warmup_steps(warmup, steps, "fit")
    assert (found, type(found)) == (expected, int)


@pytest.mark.parametrize("warmup", [100, 101, -1, -0.1, 1.5, float("nan"), float("inf")])
def test_a_warm_up_that_does_not_end_before_the_run_is_refused_with_what_would_do(warmup: float) -> None:
    with pytest.raises(OscineError, match=r"recipe\.warmup is .* recipe\.steps, which is 100; .* recipe\.warmup 0\.1$"):
        warmup_steps(warmup, 100, "recipe")


def test_a_run_has_a_step() -> None:
    with pytest.raises(OscineError, match=r"fit\.steps is 0, expected at least 1 step"):
        warmup_steps(0.1, 0, "fit")


def test_other_settings_than_work_was_begun_with_are_named_five_at_most() -> None:
    was, now = (
        {"seed": 0, "model": "a", **dict.fromkeys("bcdefg", 1)},
        {"seed": 0, "model": "z", **dict.fromkeys("bcdefg", 2)},
    )
    check_same_settings(was, was, complaint="out was begun with", remedy="start anew")
    with pytest.raises(OscineError, match=r"^out was begun with b 1, not 2; c 1, not 2; d .*; and 1 more; start anew$"):
        check_same_settings(was, now, complaint="out was begun with", remedy="start anew", aside=["model"])
