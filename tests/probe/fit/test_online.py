"""What a run's encoder is said to be worth is what probes say of it frozen, and saying so costs the run none of its bits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from oscine.models import create_model
from oscine.models.errors import OscineError
from oscine.pretrain.run.callbacks import EveryNSteps
from oscine.probe.features.encoding import encode_task
from oscine.probe.fit.baselines import judge_by, judge_vectors, logistic, neighbours
from oscine.probe.fit.online import MEAN_PATCH, OnlineProbe, online_scores
from oscine.probe.tasks.task import Part, Task, read_task

RATE = 16_000


class Learner(LightningModule):
    """Not a recipe of oscine's: an encoder that is trained on noise, with random numbers in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = create_model("bat_tiny", dim=24, depth=2, heads=2, seconds=1.0, drop_path=0.5).train()
        self.encoder.blocks[1].eval()  # as where a part is frozen; the first drops no paths

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        loss = self.encoder(batch).patches.square().mean() + torch.rand(())
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Noise, soft and loud, in two folds."""
    rng = np.random.default_rng(0)
    lines = ["path,label,fold"]
    for row in range(12):
        soundfile.write(tmp_path / f"{row}.wav", rng.uniform(-0.5, 0.5, RATE) * (0.02 if row % 2 else 1), RATE)
        lines.append(f"{row}.wav,{'soft' if row % 2 else 'loud'},{row // 2 % 2}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return tmp_path / "table.csv"


def run(folder: Path, callbacks: Sequence[Callback], steps: int = 4, parts: int = 1) -> Learner:
    torch.manual_seed(0)
    learner = Learner()
    clips = torch.rand(2 * steps * parts, RATE, generator=torch.Generator().manual_seed(0)) - 0.5
    trainer = Trainer(
        max_steps=steps, logger=CSVLogger(folder, "logs", ""), callbacks=[*callbacks], accelerator="cpu",
        accumulate_grad_batches=parts, log_every_n_steps=1, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(learner, DataLoader(clips, batch_size=2))
    return learner


def curve(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "logs" / "metrics.csv").groupby("step").last().filter(like="probe/").dropna(how="all")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_has_the_same_bits_with_and_without_an_online_probe(workers: int, table: Path, tmp_path: Path) -> None:
    runs = []
    for callbacks in ([], [EveryNSteps(1, OnlineProbe(read_task(table), workers=workers).log_scores)]):
        learner = run(tmp_path / str(len(callbacks)), callbacks)
        runs.append(learner.state_dict() | {"random": torch.get_rng_state()})
        assert learner.encoder.training
    assert all(torch.equal(tensor, runs[1][key]) for key, tensor in runs[0].items())


def test_the_figures_are_those_of_the_frozen_encoder_in_the_row_of_its_step(table: Path, tmp_path: Path) -> None:
    task = read_task(table)
    learner = run(tmp_path, [EveryNSteps(2, OnlineProbe(task, batch_size=5).log_scores)], parts=2)
    logged = curve(tmp_path)
    assert list(logged.index) == [0, 1, 3], "the first step, and every second"
    vectors = encode_task(learner.encoder.eval(), task, MEAN_PATCH).patches[-1].mean((1, 2))
    torch.testing.assert_close(vectors, encode_task(learner.encoder, task, MEAN_PATCH).patches[0, :, 0, 0])
    assert logged.loc[3].to_dict() == pytest.approx(online_scores(vectors, task))
    assert logged.loc[3, "probe/accuracy_linear"] == judge_vectors(vectors, task).summary("accuracy")[0]


def test_a_first_look_that_fails_is_an_error_that_names_the_recording(table: Path, tmp_path: Path) -> None:
    task = read_task(table)
    (tmp_path / "3.wav").write_bytes(b"no sound")
    with pytest.raises(OscineError, match=r"3\.wav"):
        run(tmp_path, [EveryNSteps(2, OnlineProbe(task).log_scores)])


class Deletes(Callback):
    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_start(self, trainer: Trainer, *args: object) -> None:
        if trainer.global_step == self.step:
            self.path.unlink()


def test_a_later_look_that_fails_is_said_and_the_run_goes_on(
    table: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run(tmp_path, [EveryNSteps(2, OnlineProbe(read_task(table)).log_scores), Deletes(tmp_path / "3.wav", 2)])
    assert list(curve(tmp_path).index) == [0, 1]
    (said,) = [record.getMessage() for record in caplog.records if record.name == "oscine.probe.fit.online"]
    assert said.startswith("step 4 is not judged: ")
    assert "3.wav" in said


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_processes_share_the_rows_and_none_has_fewer(ranks: int, table: Path) -> None:
    online, encoder = OnlineProbe(read_task(table)), Learner().encoder.eval()
    shares = [online.encode(encoder, rank, ranks) for rank in range(ranks)]
    assert {len(share) for share in shares} == {-(-12 // ranks)}
    assert online.judge(shares) == online.judge([online.encode(encoder, 0, 1)])
    assert online.judge([*shares[:-1], "3.wav is damaged"]) == "3.wav is damaged"


# The judges, on vectors of which the labels are known


def task_of(targets: Tensor, classes: int) -> Task:
    rows = torch.arange(len(targets))
    parts = [
        Part(f"fold {fold}", (rows % 2 != fold).nonzero()[:, 0], (rows % 2 == fold).nonzero()[:, 0]) for fold in (0, 1)
    ]
    return Task(pd.DataFrame(index=range(len(targets))), [f"class {c}" for c in range(classes)], targets, parts)


def vectors_of(targets: Tensor, distance: float) -> Tensor:
    """16 random numbers a row, of which one a class is shifted."""
    noise = torch.randn(len(targets), 16, generator=torch.Generator().manual_seed(0))
    noise[:, : targets.shape[1]] += distance * targets
    return noise


def several(rows: int, classes: int) -> Tensor:
    """None, one or several labels a row."""
    return (torch.rand(rows, classes, generator=torch.Generator().manual_seed(1)) < 0.4).float()


@pytest.mark.parametrize("distance", [0.0, 12.0])
def test_labels_are_told_by_what_depends_on_them_alone(distance: float) -> None:
    labels = torch.randint(3, (300,), generator=torch.Generator().manual_seed(1))
    single = online_scores(vectors_of(torch.eye(3)[labels], distance), task_of(labels, 3))
    targets = several(300, 3)
    multi = online_scores(vectors_of(targets, distance), task_of(targets, 3))
    assert list(single) == ["probe/accuracy_knn", "probe/accuracy_linear"]
    assert list(multi) == ["probe/cmap_knn", "probe/cmap_linear"]
    if distance:
        assert min(*single.values(), *multi.values()) > 0.95
    else:  # chance, which has a standard deviation of 0.03 over 300 rows
        assert list(single.values()) == pytest.approx([1 / 3] * 2, abs=0.1)
        assert list(multi.values()) == pytest.approx([targets.mean().item()] * 2, abs=0.1)


@pytest.mark.parametrize("answer", [neighbours, logistic])
def test_scale_and_offset_of_a_number_do_not_matter(answer) -> None:
    targets = several(60, 3)
    vectors, task = vectors_of(targets, 2.0), task_of(targets, 3)
    stretched = vectors.double() * torch.logspace(-2, 2, 16) + torch.arange(16)
    first, second = judge_by(answer, vectors.double(), task), judge_by(answer, stretched, task)
    assert first.summary("cmap") == pytest.approx(second.summary("cmap"))


def test_the_nearest_rows_vote_the_nearer_the_more() -> None:
    train = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    votes = neighbours(train, targets, torch.tensor([[2.0, 0.0], [0.0, 0.5]]))
    nearness = torch.tensor([1.0, 0.9 / 0.82**0.5, 0.0])
    torch.testing.assert_close(votes[0], (nearness / 0.07).softmax(0) @ targets)
    assert votes.argmax(1).tolist() == [2, 1], "rows of any length"


def test_a_class_that_no_row_to_learn_from_has_is_never_answered() -> None:
    targets = several(40, 3)
    targets[::2, 2] = 0
    train = task_of(targets, 3).parts[1].train
    assert not logistic(vectors_of(targets, 2.0)[train], targets[train], torch.randn(5, 16))[:, 2].any()
    assert not neighbours(vectors_of(targets, 2.0)[train], targets[train], torch.randn(5, 16))[:, 2].any()
