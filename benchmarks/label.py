"""Seconds and peak memory of every strategy that chooses clips to label, and of plain versions of two of them.

python benchmarks/label.py --clips 20000
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import auto_cli

from oscine.probe.label import State, choose, list_strategies
from oscine.probe.label.fisher import binary
from oscine.probe.label.strategies.badge import errors_at_own_labels

MIB = 2**20
LABELLED, DRAWS = 100, 20  # labelled clips; draws of the posterior
# REFINE asks its nine members 100 times a round, of which nothing new is learnt here.
OPTIONS: dict[str, dict[str, Any]] = {"goal": {"classes": [0]}, "refine": {"draws": 1}}


def label(
    clips: int = 5000, dim: int = 768, classes: int = 10, k: int = 20, only: Sequence[str] = (), plain: bool = True
) -> None:
    """Print what it takes to choose k clips, a line a strategy, each in a process of its own.

    The seconds are of CPU, which other work on the machine lengthens little, the memory includes the features and what is
    imported. Plain versions choose the same clips.

    Args:
        clips: that there are, of which 100 are labelled.
        dim: numbers of a clip.
        classes: of one label a clip.
        k: clips to choose.
        only: names of strategies, instead of all.
        plain: time BADGE with gradients and BAIT with matrices of all clips in every step, too.
    """
    print(f"{clips} clips of {dim} numbers, {classes} classes, {LABELLED} labelled, {k} to choose, float64", flush=True)
    for name in only or list_strategies():
        seconds, memory, chosen = measured(ours, name, (clips, dim, classes), k)
        said = f"{name:<26} {seconds:8.2f} s {memory / MIB:6.0f} MiB"
        if plain and name in PLAIN:
            other, more, same = measured(PLAIN[name], name, (clips, dim, classes), k)
            choice = "the same clips" if same == chosen else f"other clips: {same} instead of {chosen}"
            said += f"; plain {other:.2f} s {more / MIB:.0f} MiB, ratio {other / seconds:.1f}, {choice}"
        print(said, flush=True)


def state_of(clips: int, dim: int, classes: int) -> State:
    """Clips around a centre a class, and a probe that is not sure of them."""
    rng = np.random.default_rng(0)
    truth = rng.integers(classes, size=clips)
    weight = rng.normal(size=(classes, dim))
    features = rng.normal(size=(clips, dim)) + 0.3 * weight[truth]
    features *= 8 / np.linalg.norm(features, axis=1).mean()
    weight *= 4 / np.linalg.norm(features @ weight.T, axis=1).mean()
    logits = features @ weight.T
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    order = rng.permutation(clips)
    return State(
        features=features,
        probabilities=p,
        labelled=order[:LABELLED],
        labels=truth[order[:LABELLED]],
        candidates=order[LABELLED:],
        weight=weight,
        bias=np.zeros(classes),
        samples=logits[:, None] + rng.normal(size=(clips, DRAWS, classes)),
    )


def ours(name: str, state: State, k: int) -> np.ndarray:
    return choose(name, state, k, np.random.default_rng(0), **OPTIONS.get(name, {}))


def badge_with_gradients(name: str, state: State, k: int) -> np.ndarray:
    """Build every gradient [candidates, classes * dim], and compare them number by number."""
    rows, errors = state.of_candidates("features"), errors_at_own_labels(state.of_candidates("probabilities"), False)
    gradients = (errors[:, :, None] * rows[:, None]).reshape(len(rows), -1)
    generator, squares = np.random.default_rng(0), np.full(len(rows), np.inf)
    chosen = [int((gradients**2).sum(1).argmax())]
    while len(chosen) < k:
        for start in range(0, len(rows), 500):  # as many as fit into memory beside the gradients
            part = slice(start, start + 500)
            squares[part] = np.minimum(squares[part], ((gradients[part] - gradients[chosen[-1]]) ** 2).sum(1))
        squares[chosen] = 0
        chosen.append(int(generator.choice(len(rows), p=squares / squares.sum())))
    return state.candidates[chosen]


def bait_by_matrices(name: str, state: State, k: int) -> np.ndarray:
    """Multiply every clip by A and A F A in every step, of which the quicker way keeps two numbers a clip."""
    p, rows, labelled = state.need("probabilities"), state.features, state.labelled
    every = np.concatenate([labelled, state.candidates])
    known = binary(p[labelled])[:, 0] * rows[labelled]
    vectors = binary(p[every])[:, 0] * rows[every]
    fisher = vectors.T @ vectors / len(every)
    inverse = np.linalg.inv(np.eye(rows.shape[1]) + known.T @ known / (len(labelled) + k))
    own = np.sqrt(k / (len(labelled) + k)) * vectors[len(labelled) :]
    taken: list[int] = []
    for sign in [1] * 2 * k + [-1] * k:
        among = own if sign == 1 else own[taken]
        inner = ((among @ inverse) * among).sum(1)
        gains = ((among @ (inverse @ fisher @ inverse)) * among).sum(1) / (1 + sign * inner)
        if sign == 1:
            gains[taken] = -np.inf
            taken.append(int(gains.argmax()))
            changed = taken[-1]
        else:
            changed = taken.pop(int(gains.argmin()))
        step = inverse @ own[changed]
        inverse -= np.outer(step, step) / (sign + own[changed] @ step)
    return state.candidates[taken]


PLAIN: dict[str, Callable[[str, State, int], np.ndarray]] = {"badge": badge_with_gradients, "bait": bait_by_matrices}


def measured(
    run: Callable[[str, State, int], np.ndarray], name: str, size: tuple[int, int, int], k: int
) -> tuple[float, float, list[int]]:
    """Seconds of CPU, peak memory in bytes and the clips that were chosen, of a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_measure, args=(there, run, name, size, k))
    process.start()
    there.close()
    try:
        found: tuple[float, float, list[int]] = here.recv()
    except EOFError:
        found = (float("nan"), float("nan"), [])  # it was killed: there was not enough memory
    process.join()
    return found


def _measure(
    pipe: Connection,
    run: Callable[[str, State, int], np.ndarray],
    name: str,
    size: tuple[int, int, int],
    k: int,
) -> None:
    state = state_of(*size)
    begin = time.process_time()
    chosen = run(name, state, k)
    seconds = time.process_time() - begin
    pipe.send((seconds, peak(), chosen.tolist()))


def peak() -> float:
    """Bytes that this process has held at the most. Linux's getrusage would begin with what its parent has held."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * float(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    auto_cli(label, as_positional=False)
