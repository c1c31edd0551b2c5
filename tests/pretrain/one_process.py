"""One process of a run: `oscine` that notes its gradients, its masks and what it writes. NOTES ARGUMENTS..."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from oscine.cli import dispatch
from oscine.pretrain.recipe import Batch, Recipe


def run(arguments: list[str]) -> None:
    """Leave with the exit code of `oscine` and, in the folder NOTES, a file with what was noted, named by the rank."""
    notes, *command = arguments
    gradients: list[dict[str, torch.Tensor]] = []
    masks: list[torch.Tensor] = []
    written: list[str] = []
    step = Recipe.training_step

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
            written.append(str(arguments[0]))

    def note_gradients(recipe: Recipe, optimizer: object) -> None:
        weights = dict(recipe.named_parameters())
        gradients.append({name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None})

    def note_masks(recipe: Recipe, batch: Batch, index: int) -> torch.Tensor:
        masks.append(batch.keep)
        return step(recipe, batch, index)

    Recipe.on_before_optimizer_step = note_gradients
    Recipe.training_step = note_masks
    sys.addaudithook(hear)
    code = dispatch(command)
    noted = {"gradients": gradients, "masks": torch.cat(masks), "written": list(written)}
    torch.save(noted, Path(notes) / f"{os.environ.get('RANK', 'alone')}.pt")
    sys.exit(code)


if __name__ == "__main__":
    run(sys.argv[1:])
