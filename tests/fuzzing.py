"""Files as chance and strangers damage them, by a seed: cut, flipped, swapped, and with hostile values in their JSON."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from oscine.models.errors import OscineError

HOSTILE: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, -(2**63), 10**30, 1e308, float("nan"), float("inf"), "", "a", "../../etc/passwd",
    "\ud800", "x" * 10_000, [], {}, [[[]]], [None], {"a": None}, [-1, 2**62],
]  # fmt: skip
LONGEST = 20  # seconds that a reader may take: what takes longer hangs


def damaged(content: bytes, chance: Random) -> bytes:
    """Cut, flip, swap, blank or insert bytes; never to what was there."""
    while (made := _damaged(content, chance)) == content:
        pass
    return made


def _damaged(content: bytes, chance: Random) -> bytes:
    size, made = len(content), bytearray(content)
    if not size:
        return bytes([chance.randrange(256)])
    begin = chance.randrange(size)
    end = min(size, begin + chance.choice([1, 1, 8, 64, 1000]))
    kind = chance.randrange(6)
    if kind == 0:
        return content[:begin]
    if kind == 1:
        made[begin] ^= 1 << chance.randrange(8)
    elif kind == 2:
        made[begin:end] = chance.randbytes(end - begin)
    elif kind == 3:
        made[begin:end] = bytes(end - begin)
    elif kind == 4:
        made[begin:begin] = chance.randbytes(end - begin)
    else:
        other = chance.randrange(size)
        made[begin:end], made[other : other + 8] = content[other : other + 8], content[begin:end]
    return bytes(made)


def hostile(content: Any, chance: Random) -> bytes:
    """JSON in which one value is another, is gone, or that is none at all."""
    if chance.randrange(10) == 0:
        return chance.choice([b"", b"{", b"[" * 50_000, b"\xff\xfe", b"9" * 5000, b'"a"', b"null"])
    made = json.loads(json.dumps(content))
    places = list(_places(made))
    holder, key = chance.choice(places) if places else (made, None)
    if key is None:
        made = chance.choice(HOSTILE)
    elif isinstance(holder, dict) and chance.randrange(4) == 0:
        del holder[key]
    else:
        holder[key] = chance.choice(HOSTILE)
    return json.dumps(made).encode()


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    keys = content.keys() if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in list(keys):
        yield content, key
        yield from _places(content[key])


@contextmanager
def in_time(what: str) -> Iterator[None]:
    """Raise an error where a block takes too long."""

    def late(*_: object) -> None:
        raise TimeoutError(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check_reader(
    path: Path, read: Callable[[], object], times: int, damage: Callable[[bytes, Random], bytes] = damaged
) -> int:
    """Damage a file so many times, and read it: what is wrong is one line. Returns how often it was refused."""
    content, refused, wrong = path.read_bytes(), 0, list[str]()
    for seed in range(times):
        path.write_bytes(damage(content, Random(seed)))
        try:
            with in_time(f"{path.name}, seed {seed},"):
                read()
        except OscineError as error:
            refused += 1
            wrong += [f"seed {seed}: {error}"] if "\n" in str(error) else []
        except Exception as error:
            wrong.append(f"seed {seed}: {type(error).__name__}: {error}")
    assert not wrong, f"{path.name}: {len(wrong)} of {times} are not said in one line, such as {wrong[:5]}"
    path.write_bytes(content)
    read()
    return refused


def json_of(path: Path) -> Callable[[bytes, Random], bytes]:
    """The damage of a file of JSON."""
    return lambda content, chance: hostile(json.loads(content), chance)
