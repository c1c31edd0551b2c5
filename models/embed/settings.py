"""Say how recordings become a table, whatever the encoder: `EmbedSettings`, checked without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from oscine.models.audio.channels import MIX, Channel, parse_channel
from oscine.models.audio.shard import ALL, Shard
from oscine.models.encoders.base.precision import FLOAT32
from oscine.models.errors import OscineError

# The share of a clip that the last one of a recording must have: recorders write a few ms more than the minutes they are
# set to, of which a clip of silence would become a row, and a detection.
SHORTEST_CLIP = 0.05


@dataclass(frozen=True, kw_only=True)
class EmbedSettings:
    """How recordings become a table; what each means stands in `embed_recordings`. Wrong ones are an error at once."""

    hop: float | None = None  # seconds
    dtype: str = FLOAT32
    clock: str | None = None
    channel: Channel = MIX
    shortest: float = SHORTEST_CLIP
    shard: Shard = ALL
    overwrite: bool = False
    batch_size: int | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        from oscine.models.embed.table_metadata import DTYPES  # pyarrow, which --help does without
        from oscine.models.recordings.timestamps import Clock

        object.__setattr__(self, "channel", parse_channel(self.channel))
        if self.hop is not None and not 0 < self.hop < math.inf:
            raise OscineError(f"hop is {self.hop} s, expected more than 0; leave it out for a clip's length")
        if not 0 <= self.shortest < 1:
            raise OscineError(
                f"shortest is {self.shortest}, expected a share of a clip from 0 (every last clip) to less than 1"
            )
        if self.dtype not in DTYPES:
            raise OscineError(f"no dtype {self.dtype!r}; choose from {', '.join(DTYPES)}")
        if self.clock:
            Clock(self.clock)
        if self.batch_size is not None and self.batch_size < 1:
            raise OscineError(f"batch_size is {self.batch_size}, expected at least 1")
        if self.workers is not None and self.workers < 0:
            raise OscineError(f"workers is {self.workers}, expected 0 (read in the main process) or more")
