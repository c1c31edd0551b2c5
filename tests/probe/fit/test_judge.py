"""Probing: an encoder that is left as it was, features as it gives them, fits that learn what is there and nothing else."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from timm.scheduler import CosineLRScheduler
from torch import Tensor

from oscine.cli.probe import probe as command
from oscine.models.audio.load import AudioError
from oscine.models.embed.embed import embed_folder
from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.embed.table import read_embeddings
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.errors import OscineError
from oscine.probe.features.encoding import encode_task
from oscine.probe.fit.judge import Judgement, fit_probe, judge, predict, prepare, score
from oscine.probe.fit.optimise import StepThreads, balancing_weights, endless_batches
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.attentive import AttentiveProbe, EfficientProbe
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.heads.probe import Needs, Probe
from oscine.probe.heads.prototypical import PrototypicalProbe
from oscine.probe.metrics.metrics import Metrics
from oscine.probe.tasks.task import LabelledClips, Part, Task, read_task

EVERYTHING = Needs(layers=None, parts=("cls", "patches", "pooled"))
BRIEF = FitSettings(steps=40, warmup=4, batch_size=16, lr=1e-2)
ROWS = 48

PROBES: dict[str, Callable[[Encoder, int], Probe]] = {
    "linear": lambda encoder, classes: LinearProbe(encoder, classes, pool="mean", dropout=0.1),
    "attentive": AttentiveProbe,
    "prototypical": lambda encoder, classes: PrototypicalProbe(encoder, classes, prototypes_per_class=4),
    "convex gated": lambda encoder, classes: ConvexGatedProbe(encoder, classes, prototypes=24),
}
every_probe = pytest.mark.parametrize("name", PROBES)
KINDS: dict[str, Callable[[Encoder, int], Probe]] = {
    **command.PROBES,
    "EfficientProbe": lambda encoder, classes: EfficientProbe(encoder, classes, queries=4),
    "means": lambda encoder, classes: LinearProbe(encoder, classes, pool="mean"),
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return BAT(dim=24, depth=2, heads=2, drop_path=0.3, seconds=1.0).eval()


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Seven recordings of noise, of several lengths and rates; two rows are parts of one recording."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    lines = ["path,label,fold,start,end"]
    for row, (rate, seconds) in enumerate([(16_000, 1), (8_000, 0.5), (22_050, 2), (16_000, 1.3), (44_100, 1)]):
        soundfile.write(folder / f"{row}.wav", rng.uniform(-0.4, 0.4, int(rate * seconds)), rate)
        lines.append(f"{row}.wav,{'ab'[row % 2]},{row % 3},,")
    lines += ["2.wav,b,2,0.5,1.25", "2.wav,a,2,1.25,2"]
    (folder / "table.csv").write_text("\n".join(lines))
    return read_task(folder / "table.csv")


def drawn(labels: Tensor, signal: float, dim: int = 24, seed: int = 0) -> Features:
    """Random features of a 2 x 3 grid and two layers; one direction a class is laid upon every token of its rows."""
    draw = torch.Generator().manual_seed(seed)
    directions = signal * torch.eye(dim)[labels]
    return Features(
        cls=torch.randn(2, len(labels), dim, generator=draw),
        patches=torch.randn(2, len(labels), 2, 3, dim, generator=draw) + directions[:, None, None],
        pooled=torch.randn(len(labels), dim, generator=draw) + directions,
    )


def folds_of(targets: Tensor, classes: int, folds: int = 2) -> Task:
    """A task without recordings, its rows dealt out to folds in threes."""
    fold = torch.arange(len(targets)) // 3 % folds
    parts = [Part(f"fold {f}", (fold != f).nonzero().flatten(), (fold == f).nonzero().flatten()) for f in range(folds)]
    return Task(pd.DataFrame(index=range(len(targets))), [f"class {c}" for c in range(classes)], targets, parts)


class Taken(NamedTuple):
    """Features that are somewhere else than in memory, as far as a fit can tell."""

    features: Features

    def take(self, rows: Tensor, /) -> Features:
        return self.features.take(rows)


def as_written(judgement: Judgement) -> str:
    return json.dumps(judgement.as_dict(), allow_nan=False)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_features_that_are_taken_batch_by_batch_are_prepared_to_the_same_bits(
    encoder: Encoder, kind: Callable[[Encoder, int], Probe]
) -> None:
    task = folds_of(torch.arange(ROWS) % 3, 3)
    features, probe = drawn(task.targets, signal=0.5), kind(encoder, 3)
    once, whenever = prepare(probe, features), prepare(probe, Taken(features))
    assert isinstance(once, Features)
    assert not isinstance(whenever, Features)
    for rows in torch.randperm(ROWS, generator=torch.Generator().manual_seed(0)).split(7):
        assert all(torch.equal(one, two) for one, two in zip(once.take(rows), whenever.take(rows), strict=True))
    settings = dataclasses.replace(BRIEF, steps=5, warmup=1)
    judgements = [judge(lambda: kind(encoder, 3), given, task, settings) for given in (features, Taken(features))]
    for one, two in zip(judgements[0].logits, judgements[1].logits, strict=True):
        assert torch.equal(one, two)


def test_rows_are_taken_from_their_source_once_where_they_fit_into_memory(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = folds_of(torch.arange(ROWS) % 3, 3)
    taken: list[int] = []

    class Counted(Taken):
        def take(self, rows: Tensor, /) -> Features:
            taken.extend(rows.tolist())
            return super().take(rows)

    shown: list[tuple[int, int]] = []

    def fitted() -> Judgement:
        taken.clear()
        return judge(
            lambda: LinearProbe(encoder, 3, "mean"), Counted(drawn(task.targets, 0.5)), task, BRIEF,
            preparing=lambda done, total: shown.append((done, total)),
        )  # fmt: skip

    held = fitted()
    assert shown == [(ROWS, ROWS)]
    assert len(taken) == ROWS + 1, "one of them to see how large it is"
    assert {*taken} == set(range(ROWS))
    monkeypatch.setattr("oscine.probe.fit.judge.IN_MEMORY", 0)
    whenever = fitted()
    assert len(taken) > 3 * ROWS
    assert all(torch.equal(one, two) for one, two in zip(held.logits, whenever.logits, strict=True))


def test_rows_that_were_not_prepared_get_a_clear_line(encoder: Encoder) -> None:
    features, probe = Taken(drawn(torch.arange(9) % 3, 0.5)), LinearProbe(encoder, 3, "mean")
    prepared = prepare(probe, features, rows=torch.tensor([6, 2, 4, 2]))
    rows = torch.tensor([4, 2, 6, 6])
    assert torch.equal(prepared.take(rows).patches, probe.prepare(features.take(rows)).patches)
    for row in (0, 3, 8, -1):
        with pytest.raises(OscineError, match=f"row {row} was not prepared; give prepare"):
            prepared.take(torch.tensor([2, row]))


@pytest.mark.parametrize("training", [True, False])
def test_an_encoder_is_untouched_by_probing(encoder: Encoder, task: Task, training: bool) -> None:
    encoder = copy.deepcopy(encoder).train(training)
    before = copy.deepcopy(encoder.state_dict())
    for make in PROBES.values():
        probe = make(encoder, 2)
        features = encode_task(encoder, task, probe.needs)
        judge(partial(make, encoder, 2), features, task, BRIEF)
    after = encoder.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(module.training is training for module in encoder.modules())
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_features_are_what_the_encoder_gives_in_eval_mode_row_by_row(encoder: Encoder, task: Task) -> None:
    features = encode_task(copy.deepcopy(encoder).train(), task, EVERYTHING)
    clips = LabelledClips(task.rows, encoder.sample_rate, encoder.seconds)
    with torch.no_grad():
        for row in range(len(clips)):
            alone = encoder.features(encoder.spectrogram([clips[row]]))
            for part, expected in zip(features.take(slice(row, row + 1)), alone, strict=True):
                torch.testing.assert_close(part, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (3, 0), (3, 2), (64, 1)])
def test_features_depend_neither_on_the_batch_nor_on_the_workers(
    encoder: Encoder, task: Task, batch_size: int, workers: int
) -> None:
    usual = encode_task(encoder, task, EVERYTHING)
    other = encode_task(encoder, task, EVERYTHING, batch_size=batch_size, workers=workers)
    for expected, part in zip(usual, other, strict=True):
        torch.testing.assert_close(part, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", [BAT, BirdMAE])
def test_a_recording_has_the_vectors_that_a_table_of_embeddings_gives_it(
    architecture: type[Encoder], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    encoder = architecture(dim=24, depth=2, heads=2, seconds=1.0).eval()  # type: ignore[call-arg]
    rng = np.random.default_rng(0)
    lines = ["path,label,fold"]
    for row, seconds in enumerate([0.4, 1.0, 0.01, 0.4]):  # three are shorter than a clip, one than a window of Kaldi's
        soundfile.write(tmp_path / f"{row}.wav", rng.uniform(-0.4, 0.4, int(22_050 * seconds)), 22_050)
        lines.append(f"{row}.wav,{'ab'[row % 2]},{row % 2}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    features = encode_task(encoder, read_task(tmp_path / "table.csv"), EVERYTHING, batch_size=1)
    out = tmp_path / "out.parquet"
    embed_folder(EmbeddingExtractor(encoder, pools=["pooled", "cls"]), tmp_path, out, batch_size=1)
    np.testing.assert_array_equal(torch.cat([features.pooled, features.cls[-1]], dim=1), read_embeddings(out))


@pytest.mark.parametrize(
    ("needs", "shapes"),
    [
        (EVERYTHING, [(2, 7, 24), (2, 7, 7, 8, 24), (7, 24)]),
        (Needs([-1], ("mean",)), [(1, 7, 0), (1, 7, 1, 1, 24), (7, 0)]),
        (Needs([1], ("cls",)), [(1, 7, 24), (1, 7, 0, 8, 24), (7, 0)]),
        (Needs([-1], ("pooled", "frames")), [(1, 7, 0), (1, 7, 7, 1, 24), (7, 24)]),
    ],
)
def test_only_what_is_needed_is_kept(encoder: Encoder, task: Task, needs: Needs, shapes: list[tuple[int]]) -> None:
    features = encode_task(encoder, task, needs)
    assert [tuple(part.shape) for part in features] == shapes
    assert sum(part.untyped_storage().nbytes() for part in features) == 4 * sum(map(math.prod, shapes))


def test_the_length_of_a_clip_may_differ_from_the_encoders(encoder: Encoder, task: Task) -> None:
    features = encode_task(encoder, task, EVERYTHING, seconds=0.3)
    clips = LabelledClips(task.rows, encoder.sample_rate, 0.3)
    with torch.no_grad():
        expected = encoder.features(encoder.spectrogram([clips[row] for row in range(len(clips))], clips.samples))
    assert features.patches.shape[2] < encoder.grid[0]
    torch.testing.assert_close(features.patches, expected.patches, atol=1e-5, rtol=1e-5)


def test_progress_is_told_up_to_the_last_row(encoder: Encoder, task: Task) -> None:
    told: list[tuple[int, int]] = []
    encode_task(encoder, task, EVERYTHING, batch_size=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(3, 7), (6, 7), (7, 7)]


def test_encoding_leaves_the_global_random_state(encoder: Encoder, task: Task) -> None:
    before = torch.get_rng_state()
    encode_task(encoder, task, EVERYTHING, workers=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_recording_that_cannot_be_read_is_named_in_one_line(
    encoder: Encoder, task: Task, workers: int, tmp_path: Path
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    rows = task.rows.assign(path=[*task.rows["path"][:-1], str(tmp_path / "broken.wav")])
    with pytest.raises(AudioError, match=r"^\S*broken\.wav: .*\Z"):
        encode_task(encoder, dataclasses.replace(task, rows=rows), EVERYTHING, batch_size=2, workers=workers)


@every_probe
def test_a_planted_feature_is_learnt(encoder: Encoder, name: str) -> None:
    labels = torch.arange(ROWS) % 3
    task = folds_of(labels[torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))], 3)
    settings = dataclasses.replace(BRIEF, steps=120, warmup=12)
    judgement = judge(lambda: PROBES[name](encoder, 3), drawn(task.targets, signal=8.0), task, settings)
    assert judgement.summary("accuracy") == (1.0, 0.0)
    assert judgement.summary("auroc")[0] == 1.0


@every_probe
def test_shuffled_labels_are_not_learnt(encoder: Encoder, name: str) -> None:
    labels = torch.arange(4 * ROWS) % 4
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(2))]
    judgement = judge(lambda: PROBES[name](encoder, 4), drawn(labels, signal=8.0), folds_of(shuffled, 4), BRIEF)
    # Chance is 0.25, its standard deviation over 192 rows 0.03.
    assert judgement.summary("accuracy")[0] < 0.35


@pytest.mark.parametrize("loss", [None, "binary_cross_entropy", "asymmetric_bat", "asymmetric_bird_mae"])
def test_several_labels_a_row_are_learnt_with_every_loss_that_takes_them(encoder: Encoder, loss: str | None) -> None:
    present = torch.rand(2 * ROWS, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    present[~present.any(1), 0] = True
    features = drawn(torch.zeros(len(present), dtype=torch.long), signal=0.0)
    planted = features.patches + 4 * torch.nn.functional.pad(present.float(), (0, 21))[:, None, None]
    settings = dataclasses.replace(BRIEF, steps=150, warmup=15, loss=loss)
    task = folds_of(present.float(), 3)
    judgement = judge(lambda: LinearProbe(encoder, 3, pool="mean"), features._replace(patches=planted), task, settings)
    assert judgement.summary("cmap")[0] > 0.97
    assert judgement.metrics[0].classes_without_positives == 0


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "asymmetric_bat", "asymmetric_bird_mae"])
def test_one_label_a_row_is_learnt_with_the_other_losses_too(encoder: Encoder, loss: str) -> None:
    task = folds_of(torch.arange(ROWS) % 4, 4)
    settings = dataclasses.replace(BRIEF, steps=120, warmup=12, loss=loss)
    judgement = judge(lambda: LinearProbe(encoder, 4, pool="mean"), drawn(task.targets, 8.0), task, settings)
    assert judgement.summary("accuracy")[0] == 1.0


@pytest.mark.parametrize(
    ("loss", "targets", "complaint"),
    [
        ("cross_entropy", torch.ones(ROWS, 2), "cross_entropy takes one label a row.*use binary_cross_entropy"),
        ("hinge", torch.arange(ROWS) % 2, "no loss 'hinge'; choose from cross_entropy, binary_cross_entropy"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(encoder: Encoder, loss: str, targets: Tensor, complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint):
        judge(
            lambda: LinearProbe(encoder, 2),
            drawn(torch.zeros(ROWS, dtype=torch.long), 0.0),
            folds_of(targets, 2),
            dataclasses.replace(BRIEF, loss=loss),
        )


def test_a_warm_up_must_end_before_the_fit() -> None:
    with pytest.raises(
        OscineError, match=r"fit\.warmup is 400, expected a share below 1 or fewer .* which is 100; .* 0\.1"
    ):
        FitSettings(steps=100, warmup=400)
    assert FitSettings(steps=100).warmup_steps == 10
    assert FitSettings(steps=100, warmup=99).warmup_steps == 99


def test_a_step_takes_a_clip_at_least() -> None:
    with pytest.raises(OscineError, match="a batch of 0 clips"):
        FitSettings(batch_size=0)


@every_probe
def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_random_state(encoder: Encoder, name: str) -> None:
    task = folds_of(torch.arange(ROWS) % 3, 3)
    features = drawn(task.targets, signal=0.5)
    judgements = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        judgements.append(judge(lambda: PROBES[name](encoder, 3), features, task, BRIEF))
        assert torch.equal(torch.get_rng_state(), before)
    assert as_written(judgements[0]) == as_written(judgements[1])
    for one, two in zip(judgements[0].probes, judgements[1].probes, strict=True):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(one.parameters(), two.parameters(), strict=True))


def test_another_seed_gives_other_probes(encoder: Encoder) -> None:
    task = folds_of(torch.arange(ROWS) % 3, 3)
    features = drawn(task.targets, signal=0.5)
    one, two = (
        judge(lambda: LinearProbe(encoder, 3), features, task, dataclasses.replace(BRIEF, seed=seed)).probes[0]
        for seed in (0, 1)
    )
    assert any(not torch.equal(mine, theirs) for mine, theirs in zip(one.parameters(), two.parameters(), strict=True))


def test_no_part_depends_on_the_others(encoder: Encoder) -> None:
    task = folds_of(torch.arange(ROWS) % 3, 3, folds=3)
    features = drawn(task.targets, signal=0.5)
    whole = judge(lambda: LinearProbe(encoder, 3), features, task, BRIEF)
    alone = judge(lambda: LinearProbe(encoder, 3), features, dataclasses.replace(task, parts=task.parts[1:2]), BRIEF)
    assert whole.parts == ["fold 0", "fold 1", "fold 2"]
    assert alone.metrics == whole.metrics[1:2]


def test_test_rows_are_never_learnt_from(encoder: Encoder) -> None:
    task = folds_of(torch.arange(ROWS) % 3, 3)
    features = drawn(task.targets, signal=0.5)
    other = Features(*(part.clone() for part in features))
    other.patches[:, task.parts[0].test] = 100.0
    one, two = (judge(lambda: LinearProbe(encoder, 3, "mean"), f, task, BRIEF).probes for f in (features, other))
    weights = [[probe.state_dict()["fc.weight"] for probe in probes] for probes in (one, two)]
    assert torch.equal(weights[0][0], weights[1][0])
    assert not torch.equal(weights[0][1], weights[1][1])


def test_a_class_that_only_one_fold_knows_counts_and_breaks_nothing(encoder: Encoder) -> None:
    targets = torch.arange(ROWS) % 2
    task = folds_of(targets, 3)
    targets[task.parts[0].test[:4]] = 2
    judgement = judge(lambda: LinearProbe(encoder, 3, pool="mean"), drawn(targets, 8.0), task, BRIEF)
    here, elsewhere = judgement.metrics
    assert here.accuracy <= 1 - 4 / ROWS * 2
    assert (here.classes_without_positives, elsewhere.classes_without_positives) == (0, 1)
    assert here.classes == elsewhere.classes == 3


def test_mean_and_spread_are_those_of_the_parts() -> None:
    accuracies = [0.5, 0.75, 0.9]
    parts = [Metrics(value, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 4, 2, 0, 0, 0) for value in accuracies]
    judgement = Judgement(["one", "two", "three"], parts)
    assert judgement.summary("accuracy") == (np.mean(accuracies), np.std(accuracies))
    written = judgement.as_dict()
    assert (written["mean"]["accuracy"], written["std"]["accuracy"]) == judgement.summary("accuracy")
    shares = {"accuracy", "map", "cmap", "auroc", "f1", "micro_map", "micro_f1"}
    assert written["mean"].keys() == written["std"].keys() == shares
    assert [part["accuracy"] for part in written["parts"].values()] == accuracies


def test_a_score_that_is_not_defined_is_null_and_left_out_of_the_mean(recwarn: pytest.WarningsRecorder) -> None:
    parts = [Metrics(0.5, 0.1, 0.2, auroc, 0.4, 0.5, 0.6, 4, 2, 0, 0, 2) for auroc in (math.nan, 0.75, 0.25)]
    some, none = Judgement(["a", "b", "c"], parts), Judgement(["a"], parts[:1])
    assert some.summary("auroc") == (0.5, 0.25)
    assert json.loads(as_written(some))["parts"]["a"]["auroc"] is None
    written = json.loads(as_written(none))
    assert (written["mean"]["auroc"], written["std"]["auroc"]) == (None, None)
    assert written["mean"]["accuracy"] == 0.5
    assert not recwarn


def test_batches_go_through_all_rows_before_any_comes_again() -> None:
    batches = endless_batches(10, 4, seed=0)
    epochs = [[next(batches) for _ in range(3)] for _ in range(3)]
    assert [len(batch) for batch in epochs[0]] == [4, 3, 3]
    orders = [torch.cat(epoch).tolist() for epoch in epochs]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1]


def test_balanced_draws_show_rare_classes_as_often_as_frequent_ones() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    weights = balancing_weights(labels)
    torch.testing.assert_close(torch.bincount(labels, weights), torch.full((3,), 1.0, dtype=torch.float64))
    batches = endless_batches(100, 50, seed=0, weights=weights)
    drawn = torch.bincount(labels[torch.cat([next(batches) for _ in range(2 * 100)])], minlength=3)
    assert drawn.sum() == 10_000
    assert (drawn / 10_000 - 1 / 3).abs().max() < 0.02  # four standard deviations


def test_a_clip_of_several_classes_is_drawn_by_their_mean_and_one_of_none_by_those_of_none() -> None:
    targets = torch.tensor([[1, 0], [1, 0], [1, 1], [0, 1], [0, 0], [0, 0]]).float()
    assert balancing_weights(targets).tolist() == pytest.approx(
        [1 / 3, 1 / 3, (1 / 3 + 1 / 2) / 2, 1 / 2, 1 / 2, 1 / 2]
    )
    moments = torch.stack([targets, torch.zeros_like(targets)], dim=1)  # [rows, time, classes]
    assert torch.equal(balancing_weights(moments), balancing_weights(targets))


def test_a_fit_without_choices_is_the_plain_loop_to_the_bit(encoder: Encoder) -> None:
    task = folds_of(torch.arange(ROWS) % 3, 3)
    features, rows = drawn(task.targets, signal=0.5), task.parts[0].train
    probe = fresh(encoder)
    plain, prepared = copy.deepcopy(probe), prepare(probe, features)
    assert fit_probe(probe, prepared, task.targets, rows, BRIEF, valid=task.parts[0].test) == BRIEF.steps
    optimizer = torch.optim.AdamW(plain.parameter_groups(BRIEF.lr, BRIEF.weight_decay), betas=(0.9, BRIEF.beta2))
    schedule = CosineLRScheduler(
        optimizer, BRIEF.steps - BRIEF.warmup, lr_min=1e-6, warmup_t=BRIEF.warmup, warmup_lr_init=1e-6,
        warmup_prefix=True, t_in_epochs=False,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(BRIEF.seed)
    order = [places for _ in range(20) for places in torch.randperm(len(rows), generator=draw).tensor_split(2)]
    for step, places in enumerate(order[: BRIEF.steps], start=1):
        batch = rows[places]
        loss = torch.nn.functional.cross_entropy(plain.logits(prepared.take(batch)), task.targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step_update(step)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(probe.parameters(), plain.parameters(), strict=True))


def fresh(encoder: Encoder) -> Probe:
    """A probe that has not learnt anything, always the same."""
    torch.manual_seed(0)
    return LinearProbe(encoder, 3, pool="mean")


def test_the_best_step_is_kept_with_the_weights_that_a_fit_up_to_it_has(encoder: Encoder) -> None:
    labels = torch.arange(2 * ROWS) % 3
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    features, (part, _) = drawn(labels, signal=1.0), folds_of(shuffled, 3).parts  # learnt by heart, to no avail
    plain = dataclasses.replace(BRIEF, steps=60)
    settings = dataclasses.replace(plain, select_every=4)
    probe, values = fresh(encoder), []
    prepared = prepare(probe, features)
    chosen = fit_probe(probe, prepared, shuffled, part.train, settings, valid=part.test)
    for steps in range(4, 61, 4):
        other = fresh(encoder)
        assert fit_probe(other, prepared, shuffled, part.train, plain, steps=steps) == steps
        values.append(score(predict(other, prepared, part.test), shuffled[part.test]).accuracy)
        if steps == chosen:
            assert all(torch.equal(one, two) for one, two in zip(probe.parameters(), other.parameters(), strict=True))
    assert chosen == 4 * (1 + values.index(max(values))), "the first of the best"
    assert chosen < 60, "a choice was made"


def test_judged_rows_do_not_choose_the_best_step(encoder: Encoder) -> None:
    labels = torch.arange(2 * ROWS) % 3
    rows = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    part = Part("test", rows[:50], rows[50:75], rows[75:])
    features, settings = drawn(labels, signal=0.5), dataclasses.replace(BRIEF, select_every=3)
    task = dataclasses.replace(folds_of(labels, 3), parts=[part])
    other = labels.clone()
    other[part.test] = labels[part.test].flip(0)
    one, two = (
        judge(
            lambda: LinearProbe(encoder, 3, pool="mean"), features, dataclasses.replace(task, targets=given), settings
        )
        for given in (labels, other)
    )
    assert one.metrics != two.metrics
    assert one.steps == two.steps
    assert torch.equal(one.logits[0], two.logits[0])
    assert one.as_dict()["steps"] == {"test": one.steps[0]}


def test_a_best_step_needs_rows_to_choose_by(encoder: Encoder) -> None:
    task = folds_of(torch.arange(ROWS) % 3, 3)
    with pytest.raises(
        OscineError, match=r"select_every 5 chooses a step, but fold 0 has no rows to choose by: .*valid 0\.2"
    ):
        judge(
            lambda: LinearProbe(encoder, 3), drawn(task.targets, 0.5), task, dataclasses.replace(BRIEF, select_every=5)
        )
    with pytest.raises(OscineError, match=r"fit\.select_every is 0, expected at least 1 step"):
        FitSettings(select_every=0)


def test_no_batch_is_a_single_clip_of_which_batch_norm_could_make_nothing() -> None:
    batches = endless_batches(65, 64, seed=0)
    assert [len(next(batches)) for _ in range(2)] == [33, 32]


def test_progress_counts_every_step_of_every_fold(encoder):
    labels = torch.arange(ROWS) % 4
    shown: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        shown.append((done, total))

    judge(lambda: LinearProbe(encoder, 4), drawn(labels, 8.0), folds_of(labels, 4), BRIEF, progress)
    assert shown == [(step, 2 * BRIEF.steps) for step in range(1, 2 * BRIEF.steps + 1)]


@pytest.mark.parametrize(("rows", "width", "one"), [(16, 8, True), (4096, 1024, False)])
def test_small_steps_on_the_cpu_take_one_thread_and_leave_the_number_as_it_was(
    rows: int, width: int, one: bool
) -> None:
    before, layer, seen = torch.get_num_threads(), torch.nn.Linear(width, 16), []
    torch.set_num_threads(2)
    try:
        with StepThreads(torch.device("cpu")) as threads:
            for _ in range(2):
                seen.append(torch.get_num_threads())
                with threads.step():
                    layer(torch.ones(rows, width)).sum().backward()
        assert seen == [2, 1 if one else 2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
