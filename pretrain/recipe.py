"""Define Recipe, the base of all: an encoder, masks of its clips, and the losses; the encoder alone outlives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import torch
from einops import rearrange
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from oscine.models.audio.clip_random import STEP
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.patch_encoder import PatchEncoder
from oscine.models.encoders.frontends.mel import PATCH
from oscine.models.errors import OscineError
from oscine.models.hub.checksummed import load_checksummed
from oscine.models.hub.folder import as_config, from_config
from oscine.models.hub.weights import check_state
from oscine.pretrain.settings import check_compile


class Batch(NamedTuple):
    """waveform [clips, samples]; lengths [clips], how many samples are the recording's, before silence fills it up;
    keep [clips, views, kept], the patches that each view of a clip shows; seed [clips].

    `lengths` and `seed` are best left on the CPU: to read them from a GPU waits for all that it still has to do.
    """

    waveform: Tensor
    lengths: Tensor
    keep: Tensor
    seed: Tensor


PLAIN = (bool, int, float, str, list, tuple, type(None))  # settings that a state holds
REQUIRED = ("draw_keep", "losses", "configure_optimizers")
RENAMED = {"takes": "encoder_class", "rolls_before_filling": "roll_before_pad"}  # of a recipe that was written for 0.1
if TYPE_CHECKING:
    from typing_extensions import Self

DrawKeep = Callable[[torch.Generator], Tensor]  # [views, kept], on the CPU


class Recipe(LightningModule):
    """How an encoder is pretrained. A subclass must give

        draw_keep             what draws the masks of one clip
        losses                the terms whose sum is minimised, of a batch of spectrograms and their masks
        configure_optimizers  Lightning's: the optimiser, as a rule with the learning rate over the steps, such as
                              `warmup_cosine_schedule(adamw(groups, lr), warmup, steps)`

    and may leave out

        encoder_class         the class of the encoders that it takes; else all with patches
        settings              a dataclass of its constructor's numbers that refuses what cannot be; else they are not checked
        views_in_a_loss       how many views of a clip a loss is made of; else each view has its own
        roll_before_pad       whether clips are shifted before silence fills them up; else not
        augment               what is done to the waveforms of a batch, to all views of a clip or to each; else nothing
        targets               what is to be predicted of every patch, or of the clip; else the run's health has no
                              `target_std`
        reconstruct           what was predicted, to be drawn; else pictures show the clip and what is seen of it alone
        schedules             numbers that change with the steps, such as a teacher's decay; else none is logged
        warning_for           what is to be known of so many clips at once before a run starts; else nothing

    A teacher is a module of the recipe without gradients, which `optimizer_step` moves, as in `BATPretraining`. Weights that
    are not the encoder's (decoder, teacher) are in the states of a run and in nothing else. A constructor hands `encoder`,
    `steps` and `compile` on to this one; **settings in it stand for those of its parent.

    `steps` are a whole run's optimiser steps. `compile` is a mode of torch.compile for the losses, "reduce-overhead" with
    CUDA graphs; None leaves them as they are. Compiled sums come in another order, hence in other last bits.
    """

    encoder_class: type[PatchEncoder] = PatchEncoder
    # Whether a clip is shifted around the end of its recording, or of the silence behind that.
    roll_before_pad = False
    views_in_a_loss = 1
    settings: ClassVar[type[Any] | None] = None

    def __init__(self, encoder: Encoder, steps: int, compile: str | None = None) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["encoder"], logger=False)  # the whole recipe's, for `load_from_checkpoint`
        if self.settings is not None:
            self.settings(**{one.name: self.hparams[one.name] for one in fields(self.settings)})
        check_compile(compile)
        if missing := [name for name in REQUIRED if getattr(type(self), name) is getattr(Recipe, name)]:
            raise OscineError(
                f"{type(self).__name__} has no {' and no '.join(missing)}; a recipe gives {', '.join(REQUIRED)}, see Recipe"
            )
        for old, new in RENAMED.items():
            if hasattr(self, old):
                raise OscineError(f"{type(self).__name__}.{old} is called {new} now; rename it")
        if not isinstance(encoder, self.encoder_class):
            raise OscineError(
                f"{type(self).__name__} takes a {self.encoder_class.__name__}, not a {type(encoder).__name__}; choose that"
            )
        self.encoder: PatchEncoder = encoder.train()
        self.steps = steps
        self.compile_mode = compile
        self.compiled: Callable[..., dict[str, Tensor]] | None = None

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # Lightning's takes more, of which none has a meaning here
        cls, checkpoint_path: str | Path, map_location: Any = None, *, encoder: Encoder | None = None, **settings: Any
    ) -> Self:
        """Build the recipe with its encoder, as they are in a run's state, such as runs/NAME/states/last.ckpt.

        map_location: a device; by default the CPU. encoder: instead of the one that is built anew. settings: of the recipe,
        instead of those that the state has, or where an older one has none.
        """
        state = load_checksummed(Path(checkpoint_path))
        if not isinstance(state, dict) or "state_dict" not in state:
            raise OscineError(f"{checkpoint_path} is not the state of a pretraining run; name its states/last.ckpt")
        known = dict(state.get(cls.CHECKPOINT_HYPER_PARAMS_KEY, {})) | settings
        if "steps" not in known:
            raise OscineError(
                f"{checkpoint_path} does not say its settings, being older; give steps=... and the others"
            )
        recipe = cls(encoder or from_config(state.get("encoder"), checkpoint_path), **known)
        check_state(recipe.state_dict(), state["state_dict"], checkpoint_path, cls.__name__, "load it as what it is of")
        recipe.load_state_dict(state["state_dict"])
        return recipe if map_location is None else recipe.to(map_location)

    @property
    def draw_keep(self) -> DrawKeep:
        """Return what draws the masks of one clip. It is sent to reading processes: it holds numbers, not the recipe."""
        raise NotImplementedError

    def losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """Compute the terms of the loss. spectrogram [clips, frames, mel]; keep [clips * views, kept], clip-major."""
        raise NotImplementedError

    def augment(self, waveform: Tensor, seed: Tensor) -> Tensor:  # [clips, samples]
        """Augment a batch of waveforms. waveform [clips, samples]; seed [clips], on the CPU.

        Where every view hears the clip in its own way: [clips * views, samples], clip-major, as masks are.
        """
        return waveform

    def targets(self, spectrogram: Tensor) -> Tensor | None:  # [clips, patches, dim]
        """Return what is to be predicted of every patch, or of the clip as one; None where nothing is.

        spectrogram [clips, frames, mel].
        """
        return None

    def reconstruct(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """Return what is predicted, by title: spectrograms [clips, frames, mel] or colours [clips, time, freq, 3].

        spectrogram [clips, frames, mel]; keep [clips * views, kept], as many views as a loss is made of, as a rule one. NaN
        is drawn as nothing.
        """
        return {}

    def schedules(self) -> dict[str, float]:
        """Return what changes with the steps besides the learning rate, by name, as it is now."""
        return {}

    def warning_for(self, clips: int) -> str:
        """Say what so many clips, compared at once over all devices, mean for what is learnt; "" where it is nothing."""
        return ""

    def spectrogram(self, waveform: Tensor) -> Tensor:  # [clips, frames, mel]
        """Compute spectrograms of as many frames as the encoder's own clip has, also of shorter clips."""
        return self.encoder.frontend(waveform, self.encoder.grid[0] * PATCH)

    def compiled_losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        """Compute the losses, compiled if so wished; at the first step, when everything is on its device."""
        if self.compile_mode is None:
            return self.losses(spectrogram, keep)
        self.compiled = self.compiled or torch.compile(self.losses, mode=self.compile_mode)
        return self.compiled(spectrogram, keep)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        # Of what blocks draw, such as paths to drop: a run that goes on draws what it would have.
        torch.manual_seed(int(batch.seed[0]) ^ STEP)
        spectrogram = self.spectrogram(self.augment(batch.waveform, batch.seed))
        losses = self.compiled_losses(spectrogram, rearrange(batch.keep, "clip view kept -> (clip view) kept"))
        terms = torch.stack(list(losses.values()))
        shown = self.over_processes(terms.detach())
        self.log("loss", shown.sum(), prog_bar=True)
        if len(losses) > 1:
            self.log_dict({f"loss/{name}": term for name, term in zip(losses, shown)})
        return terms.sum()

    def over_processes(self, terms: Tensor) -> Tensor:
        """Average terms over processes, at steps that are logged: no process waits for the others at any other."""
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # which it gets from its logger
        logged = (self.trainer.global_step + 1) % every == 0
        return self.trainer.strategy.reduce(terms.clone(), reduce_op="mean") if logged else terms

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to a state what its encoder and its own settings are, so that others can start from it."""
        checkpoint["encoder"] = as_config(self.encoder)
        plain = {name: value for name, value in self.hparams.items() if isinstance(value, PLAIN)}
        checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = plain  # other objects would keep the state from being read

    def on_train_start(self) -> None:
        """Take learning rate and weight decay from the settings: the state of a run that goes on has brought its own.

        Not with schedulers that are no function of the step (LambdaLR): they go on as they were.
        """
        configured: Any = self.configure_optimizers()
        planned = configured["optimizer"] if isinstance(configured, dict) else configured
        schedulers = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        if not isinstance(planned, Optimizer) or not all(isinstance(scheduler, LambdaLR) for scheduler in schedulers):
            return
        rates = [group.get("initial_lr", group["lr"]) for group in planned.param_groups]  # at a share of one
        shares = [1.0] * len(rates)
        for scheduler in cast(list[LambdaLR], schedulers):
            scheduler.base_lrs = rates
            shares = [share(scheduler.last_epoch) for share in scheduler.lr_lambdas]
        for group, new, rate, share in zip(
            self.trainer.optimizers[0].param_groups, planned.param_groups, rates, shares, strict=True
        ):
            group["lr"] = rate * share
            if "weight_decay" in new:
                group["weight_decay"] = new["weight_decay"]
