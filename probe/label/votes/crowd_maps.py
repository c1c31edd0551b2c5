"""Say what annotators will say of a clip, given what a probe says; the losses that fit both to their votes.

Each has numbers for every annotator behind a probe's last map: p(vote) = sum over classes of p(class) K[class, vote]. They
are fitted together with that map (`fit_crowd`) and then left out. What they start from and what stands beside the loss is as
published.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GEOMETRY_LIMIT = 100.0  # above which the log-determinant is left out, as where it is not finite
EMBEDDED = 20  # numbers an annotator and a clip, in CoNAL


class VoteList(NamedTuple):
    """Votes one by one: numbers of clip, annotator and class, [votes] each."""

    clip: Tensor
    annotator: Tensor
    said: Tensor

    @classmethod
    def of(cls, votes: Tensor) -> VoteList:
        """List votes [clips, annotators], -1 where there is none."""
        clip, annotator = torch.nonzero(votes >= 0, as_tuple=True)
        return cls(clip, annotator, votes[clip, annotator])


class CrowdMap(nn.Module):
    """The base: from a probe's logits to the loss of the votes.

    logits [clips, classes]; features [clips, dim], which some read, too.
    """

    def __init__(self, annotators: int, classes: int, dim: int) -> None:
        super().__init__()
        self.annotators, self.classes = annotators, classes

    def forward(self, logits: Tensor, votes: VoteList, features: Tensor) -> Tensor:
        raise NotImplementedError

    def confusion(self) -> Tensor:  # [annotators, true, said]
        """Return how annotators err; rows sum to 1."""
        raise NotImplementedError


class CrowdLayer(CrowdMap):
    """A free matrix an annotator, whose answers are logits (Rodrigues & Pereira, 2018)."""

    def __init__(self, annotators: int, classes: int, dim: int) -> None:
        super().__init__(annotators, classes, dim)
        self.weight = nn.Parameter(torch.eye(classes).repeat(annotators, 1, 1))

    def forward(self, logits: Tensor, votes: VoteList, features: Tensor) -> Tensor:
        return F.cross_entropy(_said(logits.softmax(1), self.weight, votes), votes.said)

    def confusion(self) -> Tensor:
        return self.weight.softmax(2)


class ConfusionMap(CrowdMap):
    """A confusion matrix an annotator, whose rows are softmaxes.

    start: of their logits, on the diagonal and beside it.
    """

    start = (1.0, 0.0)

    def __init__(self, annotators: int, classes: int, dim: int) -> None:
        super().__init__(annotators, classes, dim)
        on, beside = self.start
        self.rows = nn.Parameter((on - beside) * torch.eye(classes).repeat(annotators, 1, 1) + beside)

    def forward(self, logits: Tensor, votes: VoteList, features: Tensor) -> Tensor:
        p, confusion = logits.softmax(1), self.confusion()
        return F.nll_loss(_log(_said(p, confusion, votes)), votes.said) + self.penalty(p, confusion)

    def penalty(self, p: Tensor, confusion: Tensor) -> Tensor:
        """Return what is added to the loss. p [clips, classes]."""
        return p.new_zeros(())

    def confusion(self) -> Tensor:
        return self.rows.softmax(2)


class TraceReg(ConfusionMap):
    """Confusions whose traces are kept small (Tanno et al., 2019)."""

    start = (1.0, -5.0)

    def penalty(self, p: Tensor, confusion: Tensor) -> Tensor:
        return 0.01 * confusion.diagonal(dim1=1, dim2=2).sum(1).mean()


class GeoRegW(ConfusionMap):
    """Confusions that are to span much, all stacked (Ibrahim et al., 2023)."""

    def penalty(self, p: Tensor, confusion: Tensor) -> Tensor:
        return _spread(confusion.transpose(1, 2).flatten(0, 1))


class GeoRegF(ConfusionMap):
    """Confusions beside probabilities that are to span much (Ibrahim et al., 2023).

    For more clips than classes.
    """

    def penalty(self, p: Tensor, confusion: Tensor) -> Tensor:
        return _spread(p)


class UnionNet(CrowdMap):
    """One matrix of all annotators, who share each class's mass.

    Wei et al., 2022, variant B.
    """

    def __init__(self, annotators: int, classes: int, dim: int) -> None:
        super().__init__(annotators, classes, dim)
        rest = 1e-5
        one = torch.full((classes, classes), rest / max(1, classes - 1)).fill_diagonal_(1 - rest)
        self.columns = nn.Parameter(one.log().repeat(annotators, 1))  # [annotators * said, true]

    def forward(self, logits: Tensor, votes: VoteList, features: Tensor) -> Tensor:
        rows = self.columns.softmax(0)[votes.annotator * self.classes + votes.said]  # [votes, true]
        said = (logits.softmax(1)[votes.clip] * rows).sum(1)
        return -_log(said).sum() / len(votes.clip.unique())

    def confusion(self) -> Tensor:
        shares = self.columns.softmax(0).unflatten(0, (self.annotators, self.classes)).transpose(1, 2)
        return shares / shares.sum(2, keepdim=True)


class CoNAL(CrowdMap):
    """A common matrix and one an annotator, mixed (Chu et al., 2021).

    How much of each depends on how clip and annotator go together.
    """

    def __init__(self, annotators: int, classes: int, dim: int) -> None:
        super().__init__(annotators, classes, dim)
        self.common = nn.Parameter(2 * torch.eye(classes))
        self.own = nn.Parameter(2 * torch.eye(classes).repeat(annotators, 1, 1))
        self.annotator = nn.Embedding(annotators, EMBEDDED)
        self.clip = nn.Linear(dim, EMBEDDED)

    def forward(self, logits: Tensor, votes: VoteList, features: Tensor) -> Tensor:
        return self.loss(logits, votes, self.rate(votes, features))

    def rate(self, votes: VoteList, features: Tensor) -> Tensor:  # [votes]
        """Return how much of a vote is an error that all share."""
        clip, annotator = F.normalize(self.clip(features)), F.normalize(self.annotator.weight)
        return (clip[votes.clip] * annotator[votes.annotator]).sum(1).sigmoid()

    def loss(self, logits: Tensor, votes: VoteList, rate: Tensor) -> Tensor:
        p = logits.softmax(1)
        mixed = rate[:, None] * (p[votes.clip] @ self.common) + (1 - rate[:, None]) * _said(p, self.own, votes)
        apart = torch.linalg.matrix_norm(self.own - self.common).sum()
        return F.cross_entropy(mixed, votes.said) - 1e-5 * apart

    def confusion(self) -> Tensor:
        return ((self.common + self.own) / 2).softmax(2)


class AnnotMix(ConfusionMap):
    """Confusions fitted to votes that are mixed in pairs (Herde et al., 2024).

    Clip, annotator and vote are mixed together. Without the embedding of clips that the paper has, too: confusions
    depend on the annotator alone.
    """

    def __init__(self, annotators: int, classes: int, dim: int) -> None:
        self.start = (math.log(0.9 * max(1, classes - 1) / 0.1), 0.0)  # right in 0.9 of the cases
        super().__init__(annotators, classes, dim)

    def forward(self, logits: Tensor, votes: VoteList, features: Tensor) -> Tensor:
        total = len(votes.clip)
        share = torch.rand(total, 1, device=logits.device, dtype=logits.dtype)  # Beta(1, 1)
        return self.mixed(logits, votes, share=share, partner=torch.randperm(total, device=logits.device))

    def mixed(self, logits: Tensor, votes: VoteList, *, share: Tensor, partner: Tensor) -> Tensor:
        """Compute the loss of every vote mixed with its partner's.

        share [votes, 1]: of the vote itself; partner [votes]: the number of the other. The probe's map is
        linear: mixed logits are those of mixed clips.
        """
        p = torch.lerp(logits[votes.clip[partner]], logits[votes.clip], share).softmax(1)
        rows = torch.lerp(self.rows[votes.annotator[partner]], self.rows[votes.annotator], share[:, None]).softmax(2)
        targets = F.one_hot(votes.said, self.classes).to(p)
        return soft_loss(torch.einsum("vc,vck->vk", p, rows), torch.lerp(targets[partner], targets, share))


def soft_loss(p: Tensor, targets: Tensor) -> Tensor:
    """Compare probabilities with mixed targets, both [votes, classes]."""
    return -(targets * _log(p)).sum(1).mean()


CROWD_MAPS: dict[str, type[CrowdMap]] = {
    "crowd_layer": CrowdLayer,
    "trace_reg": TraceReg,
    "geo_reg_w": GeoRegW,
    "geo_reg_f": GeoRegF,
    "union_net": UnionNet,
    "conal": CoNAL,
    "annot_mix": AnnotMix,
}


def _said(p: Tensor, matrices: Tensor, votes: VoteList) -> Tensor:  # [votes, classes]
    """Pass a clip's probabilities [clips, classes] through the matrix of each vote's annotator."""
    return torch.einsum("vc,vck->vk", p[votes.clip], matrices[votes.annotator])


def _spread(rows: Tensor) -> Tensor:
    """Return the part of the loss that is small where rows span much.

    rows [rows, classes]; 0 where they span nothing.
    """
    value = torch.logdet(rows.T @ rows)
    if not value.isfinite() or value.abs() > GEOMETRY_LIMIT:
        return value.new_zeros(())  # rather than a masked value, whose gradient would be none
    return -1e-3 * value


def _log(p: Tensor) -> Tensor:
    return p.clamp(min=torch.finfo(p.dtype).tiny).log()
