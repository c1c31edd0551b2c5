"""Make batches of clips on a recipe's device: read them, augment them, go on where a run stopped."""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from oscine.models.audio.augment import roll
from oscine.models.audio.channels import Channel
from oscine.models.audio.clip_random import LOUDNESS, SHIFT, per_clip_rand, to_device
from oscine.models.audio.workers import one_thread
from oscine.models.errors import OscineError
from oscine.pretrain.data.clips import ClipDataset, ClipNumbers, collate, stretches_of
from oscine.pretrain.data.sources import find_source
from oscine.pretrain.distributed import equal_on_all_ranks, rank_zero_then_broadcast
from oscine.pretrain.recipe import Batch, Recipe
from oscine.pretrain.settings import DataSettings

DEFAULTS = DataSettings([])
GRACE = 30  # seconds that a process which reads outlives SIGTERM: the run needs its clips for the step that it is in


class PretrainingData(LightningDataModule):
    """Recordings as batches for a recipe; a resumed run continues with the batch it would have had.

    seed: of the order of the clips, their cuts and masks. The rest as in `DataSettings`.
    """

    def __init__(
        self,
        recordings: Path | list[Path],
        batch_size: int = DEFAULTS.batch_size,
        workers: int = DEFAULTS.workers,
        seed: int = 0,
        seconds: float | None = DEFAULTS.seconds,
        gain: bool = DEFAULTS.gain,
        events: int | None = DEFAULTS.events,
        channel: Channel = DEFAULTS.channel,
        bad_share: float = DEFAULTS.bad_share,
    ) -> None:
        super().__init__()
        recordings = DataSettings(recordings, bad_share=bad_share).recordings  # refuses what cannot be
        self.seconds = seconds
        # Now: what is not there is said before a run is touched.
        self.source = find_source(recordings, events, seed, channel)
        self.batch_size, self.workers = batch_size, workers
        self.seed, self.gain, self.bad_share = seed, gain, bad_share
        self.order = ""  # a hash of all that a clip's number is counted in: another one gives a number to other clips
        self.resumed: dict[str, Any] = {}  # what the state of a run that goes on says of its clips
        self.allowed_changes: Collection[str] = ()  # settings that may be others than then

    # Reading

    def train_dataloader(self) -> DataLoader[Batch]:
        trainer = self.running
        recipe = self.recipe
        encoder = recipe.encoder
        samples = encoder.samples if self.seconds is None else round(self.seconds * encoder.sample_rate)
        if not 0 < samples <= encoder.samples:
            raise OscineError(f"clips of {self.seconds} s for an encoder of {encoder.seconds:g} s; cut at most as much")

        rate = encoder.sample_rate
        # By one process for all, as a disk may hesitate for one of them; a stretch's number must mean the same to all.
        stretches = rank_zero_then_broadcast(
            trainer, partial(stretches_of, self.source, samples / rate, self.bad_share)
        )
        self.dataset = ClipDataset(self.source, rate, samples, recipe.draw_keep, self.seed, self.bad_share, stretches)
        parts = trainer.accumulate_grad_batches
        self.order = sha256(stretches.tobytes()).hexdigest()[:16]
        self.check_same_clips()
        self.numbers = ClipNumbers(
            trainer.global_step * parts,
            trainer.max_steps * parts,
            self.batch_size,
            trainer.global_rank,
            trainer.world_size,
            self.resumed.get("clips"),
        )
        return DataLoader(
            self.dataset,
            batch_sampler=self.numbers,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            collate_fn=collate,
            worker_init_fn=_begin_reading,
            pin_memory=torch.cuda.is_available(),
        )

    def recordings_of(self, batch: int) -> list[str]:
        """Return the names of the recordings that this process's batch of that number is cut from."""
        return [self.dataset.recording_of(number) for number in self.numbers.of(batch)]

    # Batches

    def on_before_batch_transfer(self, batch: Batch | OscineError, dataloader_idx: int) -> Batch:
        if isinstance(batch, OscineError):
            raise batch
        return batch

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        waveform, keep = (tensor.to(device, non_blocking=True) for tensor in (batch.waveform, batch.keep))
        return batch._replace(waveform=waveform, keep=keep)  # what is read on the CPU stays there

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return roll_and_gain(batch, self.recipe.roll_before_pad, self.gain)

    # Going on

    def state_dict(self) -> dict[str, Any]:
        trainer = self.running
        done = trainer.global_step * trainer.accumulate_grad_batches
        clips = {"clips": self.numbers.before(done), "clips_a_step": self.clips_a_step}
        return clips | {"order": self.order, "contents": self.source.contents}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.resumed = state_dict

    @property
    def clips_a_step(self) -> int:
        """Count the clips of a step over all devices and accumulated parts."""
        return self.batch_size * self.running.world_size * self.running.accumulate_grad_batches

    def check_same_clips(self) -> None:
        """Refuse a resumed run other clips than it would have had, or another number a step, unless that is to change."""
        before, trainer = self.resumed, self.running
        if trainer.world_size > 1 and not equal_on_all_ranks(trainer, self.dataset.names()):
            raise OscineError(
                "the processes of this run find other recordings than the first; is the folder the same everywhere?"
            )
        if before.get("clips_a_step") not in (None, self.clips_a_step) and not self.may_change("batch_size"):
            raise OscineError(
                f"a step of this run has {before['clips_a_step']} clips, not {self.clips_a_step} ({self.batch_size} on each "
                f"of {trainer.world_size} devices, in {trainer.accumulate_grad_batches} parts); make it as many, or allow "
                "another number with --change data.batch_size"
            )
        if before.get("order") not in (None, self.order) and not self.may_change("recordings"):
            raise OscineError(
                "the recordings are not those that this run began with, or other ones can be read: its clips would come in "
                "another order; bring back what was, or allow that with --change data.recordings"
            )
        known = {before.get("contents"), self.source.contents} - {None, ""}
        alike = len({len(str(contents)) for contents in known}) == 1  # else by other versions, which hash other bytes
        if len(known) > 1 and alike and not self.may_change("recordings"):
            raise OscineError(
                "a recording was replaced by another of the same length since this run stopped, and its clips would hold "
                "other sound; bring back what was, or allow that with --change data.recordings"
            )

    def may_change(self, key: str) -> bool:
        return bool({"data", f"data.{key}"} & set(self.allowed_changes))

    @property
    def running(self) -> Trainer:
        assert self.trainer is not None, "these batches are made for a Trainer's run"
        return self.trainer

    @property
    def recipe(self) -> Recipe:
        recipe = self.running.lightning_module
        assert isinstance(recipe, Recipe), "batches carry the masks that a recipe draws"
        return recipe


def data_of(trainer: Trainer) -> PretrainingData:
    """Return the batches of a recipe's run."""
    data = getattr(trainer, "datamodule", None)
    assert isinstance(data, PretrainingData), "clips are known by their numbers"
    return data


def _begin_reading(worker: int) -> None:
    """Let a reading process pass over signals to stop: a cluster sends them to all, and the run ends its step first."""
    one_thread()
    if sys.platform != "win32" and hasattr(signal, "SIGUSR1"):  # there nobody sends it
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: signal.alarm(GRACE))


def roll_and_gain(batch: Batch, before_pad: bool, gain: bool) -> Batch:
    """Shift each clip around its end by a random number of samples; with `gain`, times Beta(10, 10) + 0.5.

    before_pad: it is the recording's end, behind which silence stays; else the clip's.
    """
    around = batch.lengths if before_pad else torch.full_like(batch.lengths, batch.waveform.shape[1])
    shifts = (per_clip_rand(batch.seed, SHIFT, 1) * around[:, None]).long()
    waveform = roll(batch.waveform, to_device(shifts, batch.waveform), to_device(around[:, None], batch.waveform))
    if gain:
        drawn = [np.random.default_rng([int(one), LOUDNESS]).beta(10, 10) + 0.5 for one in batch.seed]
        waveform = waveform * to_device(torch.tensor(drawn, dtype=waveform.dtype)[:, None], waveform)
    return batch._replace(waveform=waveform)
