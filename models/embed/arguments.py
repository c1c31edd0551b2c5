"""What may be asked of a job that embeds recordings: arguments that are wrong whatever the encoder, without torch."""

from __future__ import annotations

import math

from oscine.models.encoders.base.precision import AUTO, FLOAT32, check_precision
from oscine.models.errors import OscineError

# The share of a clip that the last one of a recording must have: recorders write a few ms more than the minutes they are
# set to, of which a clip of silence would become a row, and a detection.
SHORTEST_CLIP = 0.05


def check_arguments(
    *,
    hop: float | None = None,
    dtype: str = FLOAT32,
    precision: str = AUTO,
    clock: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    shortest: float = SHORTEST_CLIP,
) -> None:
    """Raise what is wrong with the arguments of `embed_recordings`, as far as that depends on no encoder."""
    from oscine.models.embed.table_metadata import DTYPES  # pandas, which settings and --help do without
    from oscine.models.recordings.timestamps import Clock

    if hop is not None and not 0 < hop < math.inf:
        raise OscineError(f"hop is {hop} s, expected more than 0; leave it out for a clip's length")
    if not 0 <= shortest < 1:
        raise OscineError(f"shortest is {shortest}, expected a share of a clip from 0 (every last clip) to less than 1")
    if dtype not in DTYPES:
        raise OscineError(f"no dtype {dtype!r}; choose from {', '.join(DTYPES)}")
    check_precision(precision)
    if clock:
        Clock(clock)
    if batch_size is not None and batch_size < 1:
        raise OscineError(f"batch_size is {batch_size}, expected at least 1")
    if workers is not None and workers < 0:
        raise OscineError(f"workers is {workers}, expected 0 (read in the main process) or more")
