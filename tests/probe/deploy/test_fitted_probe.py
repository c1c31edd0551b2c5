"""The probe that is kept: fitted on what may be learnt from, scaled and thresholded by rows that it had not learnt from."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.errors import OscineError
from oscine.probe.deploy.fitted_probe import FittedProbe, ProbeFit, fit_on_all, keep_probe
from oscine.probe.fit.judge import Judgement, judge
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.metrics.calibration import fit_platt, fit_temperature
from oscine.probe.metrics.decisions import best_thresholds
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import NO_ROWS, Part, Task, with_validation
from tests.tiny_encoders import noise, shaken

CLASSES, ROWS = 3, 36
BRIEF = FitSettings(steps=30, warmup=3, batch_size=12, lr=1e-2)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return shaken("BAT")


def drawn(encoder: Encoder) -> tuple[Features, Tensor]:
    """Random features of rows, of three classes in turn that lie apart a little, and the classes."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(ROWS) % CLASSES
    shape = (encoder.depth, ROWS, 2, 3, encoder.dim)
    patches = torch.randn(shape, generator=draw) + 0.4 * torch.eye(encoder.dim)[labels][:, None, None]
    return Features(patches[:, :, 0, 0], patches, patches[-1, :, 0, 0]), labels


def of_rows(*rows: range) -> list[Tensor]:
    return [torch.tensor(list(some), dtype=torch.long) for some in rows]


FOLDS = [
    Part("fold 1", *of_rows(range(18, 36), range(18))),
    Part("fold 2", *of_rows(range(18), range(18, 36))),
]  # fmt: skip
SPLIT = [Part("test", *of_rows(range(12), range(12, 24), range(24, 36)))]


def task_of(targets: Tensor, parts: list[Part]) -> Task:
    return Task(pd.DataFrame(index=range(ROWS)), ["a", "b", "c"], targets, parts)


def kept(encoder: Encoder, targets: Tensor, parts: list[Part]) -> tuple[FittedProbe, Judgement, Task]:
    features, task = drawn(encoder)[0], task_of(targets, parts)
    make = partial(LinearProbe, encoder, CLASSES, pool="mean")
    fit = ProbeFit(make, {"pool": "mean"}, encoder, features, task, BRIEF, 0.8, name="birds")
    judgement = fit.judge()
    return keep_probe(fit, judgement), judgement, task


def test_of_a_split_the_judged_probe_is_kept_and_its_valid_rows_choose(encoder: Encoder) -> None:
    labels = drawn(encoder)[1]
    fitted, judgement, _ = kept(encoder, labels, SPLIT)
    assert fitted.probe is judgement.probes[0]
    logits, rows = judgement.valid_logits[0], SPLIT[0].valid
    scaling = fit_temperature(logits, labels[rows])
    assert fitted.scaling == scaling
    scaled = (logits.double() * scaling.scale).softmax(1)
    assert fitted.thresholds is not None
    torch.testing.assert_close(fitted.thresholds, best_thresholds(scaled, one_hot(labels[rows], CLASSES)))
    assert fitted.fitted_on == {"task": "birds", "rows": 12, "judged": ["test"]}
    assert (fitted.seconds, fitted.classes, fitted.single_label) == (0.8, ["a", "b", "c"], True)
    assert fitted.scores["accuracy"] == judgement.metrics[0].accuracy


def test_of_a_split_without_valid_rows_nothing_is_chosen(encoder: Encoder) -> None:
    fitted, _, _ = kept(encoder, drawn(encoder)[1], [SPLIT[0]._replace(valid=NO_ROWS)])
    assert fitted.scaling is None
    assert fitted.thresholds is None


def test_of_folds_a_probe_of_all_rows_is_kept_and_what_folds_said_of_unseen_rows_chooses(encoder: Encoder) -> None:
    targets = one_hot(drawn(encoder)[1], CLASSES).float()
    targets[::4, 0] = 1
    fitted, judgement, _ = kept(encoder, targets, FOLDS)
    every = torch.arange(ROWS)
    make = partial(LinearProbe, encoder, CLASSES, pool="mean")
    alone = judge(make, drawn(encoder)[0], task_of(targets, [Part("all", every, every)]), BRIEF).probes[0].state_dict()
    assert all(torch.equal(tensor, alone[name]) for name, tensor in fitted.probe.state_dict().items())
    assert fitted.fitted_on["rows"] == ROWS
    logits = torch.cat(judgement.logits)  # of fold 1's rows and fold 2's, which are in the table's order
    scaling = fit_platt(logits, targets)
    assert fitted.scaling is not None
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(fitted.scaling, scaling, strict=True))
    scaled = scaling(logits.double()).sigmoid()
    assert fitted.thresholds is not None
    torch.testing.assert_close(fitted.thresholds, best_thresholds(scaled, targets))


def test_out_of_fold_logits_meet_the_targets_of_their_own_rows(encoder: Encoder) -> None:
    """However the folds are ordered; targets that were paired with other rows would give other thresholds."""
    targets = one_hot(drawn(encoder)[1], CLASSES).float()
    targets[::4, 0] = 1
    one, other = kept(encoder, targets, FOLDS)[0], kept(encoder, targets, FOLDS[::-1])[0]
    assert one.thresholds is not None
    assert other.thresholds is not None
    torch.testing.assert_close(one.thresholds, other.thresholds)


def test_what_is_kept_is_fitted_on_no_row_that_no_part_learns_from(encoder: Encoder) -> None:
    features, labels = drawn(encoder)
    make = partial(LinearProbe, encoder, CLASSES, pool="mean")
    parts = [Part("1", *of_rows(range(9), range(9, 18))), Part("2", *of_rows(range(9, 18), range(9)))]
    fit = ProbeFit(make, {}, encoder, features, task_of(labels, parts), BRIEF)
    one = fit_on_all(fit)
    shuffled = labels.clone()
    shuffled[18:] = labels[18:].flip(0)
    other = fit_on_all(replace(fit, task=task_of(shuffled, parts)))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_what_is_kept_of_folds_learns_for_as_many_steps_as_theirs_did_in_the_middle(encoder: Encoder) -> None:
    features, labels = drawn(encoder)
    make, task = partial(LinearProbe, encoder, CLASSES, pool="mean"), with_validation(task_of(labels, FOLDS), 0.5)
    settings = replace(BRIEF, select_every=1)
    fit = ProbeFit(make, {}, encoder, features, task, settings)
    judgement = fit.judge()
    few, many = sorted(judgement.steps)
    assert few < BRIEF.steps
    fitted = keep_probe(fit, judgement)
    middle = fit_on_all(replace(fit, settings=BRIEF), [(few + many) // 2])
    assert all(torch.equal(a, b) for a, b in zip(fitted.probe.parameters(), middle.parameters(), strict=True))


def as_kept(encoder: Encoder, **how: Any) -> FittedProbe:
    return replace(kept(encoder, drawn(encoder)[1], SPLIT)[0], **{"seconds": encoder.seconds, **how})


def test_probabilities_are_those_of_the_scaled_logits(encoder: Encoder) -> None:
    fitted = as_kept(encoder)
    clips = noise(3, encoder.samples)
    with torch.inference_mode():
        logits = fitted.probe(encoder(clips))
    assert fitted.scaling is not None
    torch.testing.assert_close(fitted(clips), fitted.scaling(logits).softmax(-1))
    torch.testing.assert_close(as_kept(encoder, kind=TaskKind.MULTI, scaling=None)(clips), logits.sigmoid())
    assert not fitted(clips).requires_grad


def test_a_clip_does_not_depend_on_its_batch_and_a_short_one_is_filled_up_as_the_encoder_says(encoder: Encoder) -> None:
    fitted = as_kept(encoder)
    clips = noise(3, encoder.samples // 2)
    together = fitted(clips)
    for clip, said in zip(clips, together, strict=True):
        torch.testing.assert_close(fitted(clip[None])[0], said, atol=1e-5, rtol=1e-4)
    with torch.inference_mode():
        logits = fitted.probe(encoder.features(encoder.spectrogram(list(clips))))
    assert fitted.scaling is not None
    torch.testing.assert_close(together, fitted.scaling(logits).softmax(-1))


@pytest.mark.parametrize("shape", [(2, 20_000), (2, 0), (800,)])
def test_what_is_no_clip_is_refused_in_one_line(encoder: Encoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(OscineError, match=r"waveform has shape .*, expected \[batch, samples\] with up to 17600") as it:
        as_kept(encoder)(torch.zeros(shape))
    assert "\n" not in str(it.value)
