"""What several probes make of an encoder is read as it was written, and gains are of the same folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from oscine.models import create_model
from oscine.probe.fit.judge import Judgement, score
from oscine.probe.results.encoder_scores import (
    LOGISTIC,
    NEEDS,
    EncoderScores,
    best_pair,
    gain,
    gives_one_answer,
    judge_encoder,
    read_encoder_scores,
    write_encoder_scores,
)
from oscine.probe.tasks.task import Part, Task
from tests.tiny_encoders import noise

FIT = {"steps": 2, "warmup": 1, "batch_size": 4, "lr": 1e-3, "weight_decay": 0.0, "beta2": 0.999, "clip": None}
PROBES = {
    "linear": {"probe": "LinearProbe", "head": {"pool": "bands"}, "fit": FIT},
    "gated": {"probe": "ConvexGatedProbe", "head": {"prototypes": 4}, "fit": FIT},
}


@pytest.fixture(scope="module")
def made() -> EncoderScores:
    encoder = create_model("bird_mae_tiny", dim=24, depth=2, heads=2, seconds=0.5).eval()
    with torch.inference_mode():
        features = NEEDS.take(encoder(noise(8, encoder.samples)))
    features = type(features)(*(tensor.clone() for tensor in features))
    rows = torch.arange(8)
    parts = [Part("fold 0", rows[:4], rows[4:]), Part("fold 1", rows[4:], rows[:4])]
    task = Task(None, ["owl", "wren"], rows % 2, parts)  # type: ignore[arg-type]
    return EncoderScores.of(judge_encoder(encoder, features, task, probes=PROBES, seed=0))


def test_every_probe_is_judged_on_every_part_and_gates_are_kept(made: EncoderScores) -> None:
    assert list(made.judgements) == [LOGISTIC, *PROBES]
    assert all(judgement.parts == ["fold 0", "fold 1"] for judgement in made.judgements.values())
    assert made.gates is not None
    assert made.gates.shape == (2, 2)


def test_what_is_read_is_what_was_written(made: EncoderScores, tmp_path: Path) -> None:
    write_encoder_scores(tmp_path / "rows" / "a.pt", made)
    read = read_encoder_scores(tmp_path / "rows" / "a.pt")
    assert read is not None
    assert read.gates is not None
    assert np.array_equal(read.gates, made.gates)  # type: ignore[arg-type]
    for name, judgement in made.judgements.items():
        other = read.judgements[name]
        assert (other.parts, other.metrics, other.steps) == (judgement.parts, judgement.metrics, judgement.steps)
        assert all(torch.equal(one, two) for one, two in zip(other.logits, judgement.logits, strict=True))


def test_a_torn_file_counts_as_none(made: EncoderScores, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    assert read_encoder_scores(path) is None
    write_encoder_scores(path, made)
    path.write_bytes(path.read_bytes()[:-100])
    assert read_encoder_scores(path) is None


def judged(*shares: float) -> Judgement:
    """A judgement of ten rows a part, of which so many are right."""
    made = Judgement([f"fold {number}" for number in range(len(shares))], [])
    for share in shares:
        wrong = torch.arange(10) >= 10 * share
        logits = torch.stack([1.0 - wrong.float(), wrong.float()], 1)
        made.logits.append(logits)
        made.metrics.append(score(logits, torch.zeros(10, dtype=torch.long)))
    return made


def test_a_gain_is_of_folds_in_pairs_and_must_exceed_its_spread() -> None:
    same_gain = gain(judged(0.9, 0.5), judged(0.7, 0.3))
    assert (same_gain.mean, same_gain.spread) == pytest.approx((20, 0))
    assert str(same_gain) == "+20.0 ± 0.0"
    assert same_gain.verdict == "better"
    assert gain(judged(0.7, 0.3), judged(0.9, 0.5)).verdict == "worse"
    assert gain(judged(0.9, 0.3), judged(0.5, 0.5)).verdict == "no clear difference"


def test_a_probe_with_one_answer_for_all_clips_is_known() -> None:
    assert gives_one_answer(judged(1.0, 1.0))
    assert not gives_one_answer(judged(1.0, 0.9))


def test_the_best_pair_is_of_the_rows_that_are_named() -> None:
    scores = {"one": {"a": judged(0.5, 0.5), "b": judged(0.7, 0.7)}, "other": {"a": judged(1.0, 1.0)}}
    assert best_pair(scores, ["one"]) == ("one, b", pytest.approx(0.7))
