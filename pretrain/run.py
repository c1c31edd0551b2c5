"""One pretraining run in one folder: logs, run states to resume from, and the encoder at its end."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins import TorchCheckpointIO

from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.hub import save_pretrained
from oscine.pretrain.data import PretrainingData
from oscine.pretrain.recipe import Recipe

LOGS, STATES, ENCODER = "logs", "states", "encoder"
STATE = Path(STATES, "last.ckpt")


def make_trainer(
    recipe: Recipe,
    folder: Path,
    save_every: int = 1000,
    log_every: int = 10,
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> Trainer:
    """The Trainer of a recipe's run in `folder`, which it does not touch yet. `settings` are Lightning's own.

    Loss, its terms and the learning rate go to `folder`/logs every `log_every` steps, as CSV and for TensorBoard; everything
    that is needed to go on goes to `folder`/states every `save_every` steps.
    """
    csv = CSVLogger(folder, name=LOGS, flush_logs_every_n_steps=log_every)
    keep_last = ModelCheckpoint(
        folder / STATES, save_top_k=0, save_last=True, enable_version_counter=False,
        every_n_train_steps=save_every, save_on_train_epoch_end=True,
    )  # fmt: skip
    try:
        return Trainer(
            max_steps=recipe.steps,
            default_root_dir=folder,
            logger=[csv, TensorBoardLogger(folder, name=LOGS, version=csv.version)],
            callbacks=[StaysFinite(folder / STATE, log_every, save_every), keep_last, *callbacks],
            plugins=[WholeStates()],
            log_every_n_steps=log_every,
            # The clips' numbers say which rank reads what; a sampler on top would deal them out twice.
            use_distributed_sampler=False,
            **settings,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise OscineError(f"no such Trainer: {' '.join(str(error).split())}") from error


def run_pretraining(
    trainer: Trainer, recipe: Recipe, data: PretrainingData, folder: Path, resume: bool = False
) -> Path:
    """Train a recipe to its last step and return the folder of its encoder, `folder`/encoder."""
    state = folder / STATE
    if resume and not state.exists():
        raise OscineError(f"nothing to resume: no {state}; leave out --resume to start this run")
    trainer.fit(recipe, datamodule=data, ckpt_path=state if resume else None)
    trainer.save_checkpoint(state)  # the last step, too, where `save_every` does not meet it
    if trainer.is_global_zero:
        save_pretrained(recipe.encoder, folder / ENCODER)
    trainer.strategy.barrier()  # whoever returns finds the encoder written
    return folder / ENCODER


class StaysFinite(Callback):
    """Stops a run whose loss or weights are no numbers any more, before they replace its state or become its encoder."""

    def __init__(self, state: Path, log_every: int, save_every: int) -> None:
        self.state, self.log_every, self.save_every = state, log_every, save_every

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        step = trainer.global_step
        if step % self.log_every == 0 or step % self.save_every == 0 or step == trainer.max_steps:
            self.check(trainer, [outputs["loss"], *pl_module.parameters()])

    def check(self, trainer: Trainer, tensors: list[torch.Tensor]) -> None:
        finite = bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
        if not trainer.strategy.reduce_boolean_decision(finite):  # one rank alone would leave the others waiting
            kept = f"the state kept in {self.state} is from before" if self.state.exists() else "no state was kept yet"
            raise OscineError(
                f"loss or weights are not finite at step {trainer.global_step}; {kept}; a new run with a lower recipe.lr or "
                "a trainer.gradient_clip_val may do better"
            )


class WholeStates(TorchCheckpointIO):
    """Writes a run state complete or not at all; Lightning's own is copied over the old one, which a kill cuts short."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), content.getvalue())


def loss_curve(folder: Path) -> pd.DataFrame:
    """What a run has logged, one row a logged step, over all its resumptions; a step done twice counts as done last."""
    parts = sorted((folder / LOGS).glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    if not parts:
        raise OscineError(f"no {LOGS}/version_*/metrics.csv in {folder}; is it the folder of a pretraining run?")
    return pd.concat(map(pd.read_csv, parts)).groupby("step").last()
