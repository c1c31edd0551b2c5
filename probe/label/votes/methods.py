"""Name the ways in which votes are combined, without torch, and choose one."""

from __future__ import annotations

from pathlib import Path

from oscine.models.errors import Misuse
from oscine.probe.label.votes.votes import Votes

MAJORITY, LIKELIHOODS, PRESENCE, PROBE = "majority", "likelihoods", "presence", "probe"
DAWID_SKENE, ONE_COIN = "dawid_skene", "one_coin"
CROWD = ("crowd_layer", "trace_reg", "geo_reg_w", "geo_reg_f", "union_net", "conal", "annot_mix")
WITH_FEATURES = (PROBE, *CROWD)
ONE_LABEL = (MAJORITY, LIKELIHOODS, DAWID_SKENE, ONE_COIN, *WITH_FEATURES)
SEVERAL_LABELS = (MAJORITY, PRESENCE, PROBE)


def choose_method(votes: Votes, asked: str | None, embeddings: Path | None) -> tuple[str, str]:
    """Return the method and why; raise where it does not fit."""
    fitting = SEVERAL_LABELS if votes.several else ONE_LABEL
    kind = "several classes" if votes.several else "one class"
    if asked is not None and asked not in fitting:
        raise Misuse(f"no method {asked!r} for clips of {kind}; choose from {', '.join(fitting)}")
    if asked == LIKELIHOODS and votes.points is None:
        raise Misuse("likelihoods are of points that people spread over classes; the votes have no column points")
    if asked in WITH_FEATURES and embeddings is None:
        raise Misuse(f"{asked} looks at the clips; give their table with --embeddings, which oscine embed writes")
    if asked not in (None, *WITH_FEATURES) and embeddings is not None:
        raise Misuse(
            f"{asked} looks at no embeddings; leave --embeddings out, or take one of {', '.join(WITH_FEATURES)}"
        )
    if asked:
        return asked, "as asked"
    if votes.points is not None and not votes.several:
        return LIKELIHOODS, "people have spread points"
    if embeddings is not None:
        return PROBE, "a probe on the embeddings, out of fold, was measured to be nearest to the truth"
    return MAJORITY, "there are no embeddings; --embeddings TABLE lets a probe help"
