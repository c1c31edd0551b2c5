"""Name the channel of a recording that is read: the mean of all, one of them, or each by itself."""

from __future__ import annotations

from oscine.models.errors import OscineError

MIX, EACH = "mix", "each"
NAMED = {"left": 1, "right": 2}
Channel = str | int  # "mix", "left", "right", "each", or a number from 1


def parse_channel(channel: Channel) -> Channel:
    """Return "mix", "each" or a number from 1, of any way to write it."""
    if channel in (MIX, EACH):
        return channel
    number = NAMED.get(str(channel), channel)
    if isinstance(number, bool) or not str(number).isdecimal() or int(number) < 1:
        raise OscineError(f"no channel {channel!r}; choose {MIX}, left, right, {EACH}, or a number from 1")
    return int(number)


def one_channel(channel: Channel) -> int:
    """Return the number of one channel, 0 being the mean of all; `each` is an error."""
    number = parse_channel(channel)
    if number == EACH:
        raise OscineError(f"channel {EACH} is several waveforms; ask for one channel at a time, by its number from 1")
    return 0 if number == MIX else int(number)


def missing_channel(channel: int, channels: int) -> str:
    """Return why a recording with that number of channels lacks a channel, or ""."""
    if channel <= channels:
        return ""
    return f"has {channels} channel{'s' * (channels > 1)}, no channel {channel}; choose another one, or {MIX}"
