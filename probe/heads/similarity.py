"""Compare prototypes with patches: the greatest and least similarities, and the patches that they are found in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag, linear

from oscine.models.encoders.base.features import Features
from oscine.probe.heads.probe import Probe, group_parameters

NOWHERE = -1  # the place of what is of no single patch


class Activations(NamedTuple):
    """How well prototypes fit clips.

    values  [batch, prototype, kind], of which logits are weighted sums
    places  [batch, prototype, kind], the places of the grid where they were found, counted time-major
    grid    how many places, (time, freq)
    """

    values: Tensor
    places: Tensor
    grid: tuple[int, int]


class PrototypeProbe(Probe):
    """A probe whose logits are weighted sums of activations: how well prototypes fit the patches of a clip.

    kinds         of activations of a prototype: its greatest similarity; or its least, a middle one and its greatest
    shows_places  whether a patch that a prototype fits lies where its place says
    """

    spatial = True
    kinds: ClassVar[int] = 1
    shows_places: bool = True
    prototype_vectors: nn.Parameter
    fc: nn.Linear  # of prototypes that no class owns

    def unit_prototypes(self) -> Tensor:  # [prototype, width]
        """Return the prototypes as they are compared."""
        raise NotImplementedError

    def compared(self, prepared: Features) -> Tensor:  # [batch, time, freq, width]
        """Return what prototypes are compared with."""
        return prepared.patches[-1]

    def middle_vectors(self, prepared: Features) -> Tensor:  # [batch, width]
        """Return the vectors whose similarity is the second of three kinds."""
        raise NotImplementedError

    def activation(self, similarity: Tensor) -> Tensor:
        """Return the activation of a similarity, of any shape."""
        return similarity

    def bias(self) -> Tensor:  # [class]
        return self.fc.bias

    def prototypes_of(self, label: int) -> tuple[Tensor, Tensor]:
        """Return the numbers of the prototypes that speak of a class, [own], and their weights, [own, kind]."""
        return torch.arange(len(self.prototype_vectors)), self.fc.weight[label].unflatten(0, (-1, self.kinds))

    def activate(self, prepared: Features, prototypes: Tensor) -> Activations:
        """Compute the activations of some prototypes, by number. Holds all similarities of these: batch by batch."""
        patches, vectors = self.compared(prepared), self.unit_prototypes()[prototypes]
        similarity = linear(patches.flatten(1, 2), vectors)  # [batch, place, prototype]
        values, places = (torch.stack([found]) for found in similarity.max(1))
        if self.kinds == 3:
            least, middle = similarity.min(1), linear(self.middle_vectors(prepared), vectors)
            values = torch.stack([least.values, middle, values[0]])
            places = torch.stack([least.indices, torch.full_like(places[0], NOWHERE), places[0]])
        values, places = (
            rearrange(found, "kind batch prototype -> batch prototype kind") for found in (values, places)
        )
        return Activations(self.activation(values), places, (patches.shape[1], patches.shape[2]))

    def parameter_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Make groups for AdamW: no decay on prototypes, whose length means nothing, nor on one-dimensional tensors."""
        return group_parameters(self, lr, weight_decay, {"prototype_vectors": {"weight_decay": 0.0}})


# Similarities are computed about so many places by so many prototypes at a time: what a core's cache holds, or enough to
# keep a GPU busy.
SIDES = {"cpu": 512, "cuda": 4096}
TABLE = 2**24  # numbers of compared patches that the backward pass holds at a time: 64 MiB in float32

Ends = Sequence[Callable[..., Any]]
Compared = Callable[[Tensor], Tensor]


def tiled_min_max(
    patches: Tensor,
    prototypes: Tensor,
    ends: Ends = (torch.min, torch.max),
    compared: Compared = lambda patches: patches,
) -> Tensor:  # [end, set, prototype]
    """Find the least and greatest similarity (inner product) of every prototype with the patches of every set.

    Every set is compared with tiles of prototypes, of which only the ends are kept; the backward pass visits the winning
    patches alone. Where patches tie, one of them wins.

    Args:
        patches: [set, place, dim]; a set is what one answer looks at, such as the patches of a clip.
        prototypes: [prototype, dim].
        ends: which are wanted, of torch.min and torch.max.
        compared: what is compared instead of the patches, [set, other place, other dim], each set for itself, without
            parameters; done a tile at a time and once more in the backward pass, so that it need not be kept. `patches`
            have whatever shape it takes, sets first.
    """
    if torch.compiler.is_exporting():  # to other programs, which have neither tiles nor a backward pass
        similarity = linear(compared(patches), prototypes)
        return torch.stack([find(similarity, 1).values for find in ends])
    return _TiledMinMax.apply(patches, prototypes, ends, compared)


class _TiledMinMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, patches: Tensor, prototypes: Tensor, ends: Ends, compared: Compared) -> Tensor:
        side = SIDES.get(patches.device.type, SIDES["cuda"])
        values = patches.new_empty(len(ends), len(patches), len(prototypes))
        places = torch.empty_like(values, dtype=torch.int32)
        for sets in _tiles(len(patches), side // patches.shape[1:-1].numel()):
            seen = compared(patches[sets])
            for some in _tiles(len(prototypes), side):
                similarity = linear(seen, prototypes[some])  # [set, place, prototype]
                for end, find in enumerate(ends):
                    values[end, sets, some], places[end, sets, some] = find(similarity, 1)
        ctx.save_for_backward(patches, prototypes, places)
        ctx.compared = compared
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:  # of [end, set, prototype]
        patches, prototypes, places = ctx.saved_tensors
        patches_learn = ctx.needs_input_grad[0]
        of_patches = torch.empty_like(patches) if patches_learn else None
        of_prototypes = torch.zeros_like(prototypes)
        for sets in _tiles(len(patches), TABLE // patches.shape[1:].numel()):
            with torch.enable_grad():
                source = patches[sets].detach().requires_grad_(patches_learn)
                seen = ctx.compared(source)  # [set, place, dim]
            table = seen.detach().flatten(0, 1)
            first = torch.arange(0, len(table), seen.shape[1], dtype=places.dtype, device=places.device)
            rows = places[:, sets] + first[:, None]  # of the table, [end, set, prototype]
            of_prototypes += _prototypes_gradient(grad[:, sets], rows, table)
            if of_patches is not None:
                of_seen = _places_gradient(grad[:, sets], rows, prototypes, len(table))
                (of_patches[sets],) = torch.autograd.grad(seen, source, of_seen.view_as(seen))
        return of_patches, of_prototypes, None, None


def _prototypes_gradient(grad: Tensor, rows: Tensor, table: Tensor) -> Tensor:  # [prototype, dim]
    """Sum, for every prototype, the table's rows that won, each times its gradient [end, set, prototype]."""
    each = "end set prototype -> prototype (end set)"
    weights = rearrange(grad, each).contiguous()
    return embedding_bag(rearrange(rows, each), table, mode="sum", per_sample_weights=weights)


def _places_gradient(grad: Tensor, rows: Tensor, prototypes: Tensor, places: int) -> Tensor:  # [place, dim]
    """Sum, for every place, the prototypes that it won, each times its gradient [end, set, prototype]."""
    rows, order = rows.flatten().sort()
    winners = torch.arange(len(prototypes), device=order.device).expand_as(grad).flatten()[order]
    begins = torch.searchsorted(rows, torch.arange(places, dtype=rows.dtype, device=rows.device))
    return embedding_bag(winners, prototypes, begins, mode="sum", per_sample_weights=grad.flatten()[order])


def _tiles(length: int, step: int) -> Iterator[slice]:
    step = max(1, step)
    return (slice(begin, begin + step) for begin in range(0, length, step))
