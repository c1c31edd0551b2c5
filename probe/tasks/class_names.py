"""Find names of classes that may be one by mistake: spelt alike but for case, or for a letter."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from oscine.models.errors import OscineError
from oscine.models.text.words import counted

logger = logging.getLogger(__name__)

# Letters of a word from which on one other letter is a likelier mistake than another word (tern, wren; cat, bat).
LONG = 7
SHORT = 5  # and from which on the same letters in another order, or one twice, are
CODES = 50  # so many classes of short names without blanks are codes, such as eBird's of six letters: one letter is all

# What a field recordist writes where none of the classes sounds, as `plain` has it; "-" in front of any name says so, too.
NO_CLASS = {
    "ambient", "background", "background noise", "empty", "negative", "no bird", "no call", "no event", "nocall", "noise",
    "non event", "none", "nonevent", "nothing", "other", "silence",
}  # fmt: skip


def check_known(classes: Sequence[str], known: Sequence[str]) -> None:
    """Raise where names of classes are none, twice there, or not among those that are known; say which are meant."""
    if not classes or len(set(classes)) < len(classes):
        twice = next((name for name in classes if classes.count(name) > 1), None)
        raise OscineError(
            f"class {twice} is named twice; name it once" if twice else "no class is named; name one at least"
        )
    if unknown := sorted(set(classes) - set(known)):
        near = {name: get_close_matches(name, known, n=1) for name in unknown[:3]}
        meant = ", ".join(f"{name}{f' (did you mean {one[0]}?)' if one else ''}" for name, one in near.items())
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise OscineError(f"the probe has no class {meant}{more}; it has {len(known)}, such as {', '.join(known[:3])}")


def as_known(classes: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return names of classes as they are known; one written in another case is taken for it, which is logged.

    Raises where a name is none of them, or could be several.
    """
    alike: dict[str, list[str]] = {}
    for name in known:
        alike.setdefault(plain(name), []).append(name)
    meant = {name: alike.get(plain(name), []) for name in classes if name not in known}
    taken = {name: found[0] for name, found in meant.items() if len(found) == 1}
    if taken:
        pairs = [f"{own} for {name}" for name, own in taken.items()]
        logger.info("classes are named as the probe has them: %s", listed(pairs))
    found = [taken.get(name, name) for name in classes]
    check_known(found, known)
    return found


def check_named(names: Iterable[str], known: Sequence[str], who: object) -> None:
    """Raise where somebody named a class that there is not. who: and where, for the error."""
    if unknown := next((name for name in names if name not in known), None):
        meant = "".join(f" (did you mean {one}?)" for one in get_close_matches(unknown, known, n=1))
        total = counted(len(known), "class", "classes")
        raise OscineError(f"{who} named {unknown}{meant}, which is none of the {total}; correct it, or add it to them")


def means_no_class(name: str) -> bool:
    """Tell whether a label says by the field's convention that none of the classes sounds."""
    return name.strip().startswith("-") or plain(name) in NO_CLASS


def name_classes(clips: Mapping[str, int], source: object, negatives: bool = True) -> list[str]:
    """Return the classes among labels, sorted; those that mean that no class sounds are none, which is logged.

    clips: of every label. negatives: False keeps all of them as classes.
    """
    none = sorted(name for name in clips if negatives and means_no_class(name))
    if none:
        logger.info(
            "%s: %s (%d labels) mean that no class sounds; clips may so have no label, and are judged as those with "
            "several; --negatives none makes classes of them",
            source, listed(none), sum(clips[name] for name in none),
        )  # fmt: skip
    return sorted(clips.keys() - set(none))


def check_names(clips: Mapping[str, int], source: object) -> None:
    """Log which names of classes may be one by mistake. clips: of every class; source: that has them, for the line."""

    def with_clips(names: Iterable[str]) -> str:
        return " and ".join(f"{name} ({clips[name]} clip{'s' * (clips[name] != 1)})" for name in names)

    same = [with_clips(names) for names in find_same(clips)]
    if same:
        advice = "write them alike if they are one"
        logger.warning("%s: classes that differ in case, accents or spaces alone: %s; %s", source, listed(same), advice)
    near = [with_clips(sorted(pair, key=lambda name: clips[name])) for pair in find_near(clips)]
    if near:
        logger.warning(
            "%s: classes that are spelt nearly alike: %s; correct them if they are one", source, listed(near)
        )
    if "NA" in clips:
        logger.info("%s: NA is taken for the name of a class (%d clips); R writes it for no value", source, clips["NA"])


def find_same(names: Iterable[str]) -> list[list[str]]:
    """Group names that are the same but for case, accents' composition, spaces and hyphens."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(plain(name), []).append(name)
    return [alike for alike in found.values() if len(alike) > 1]


def find_near(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pair names that differ in one word, and there by a slip of the hand.

    That is a letter left out, added, changed, doubled or moved. Numbers, single letters ("song A") and short words are names
    of their own.
    """
    bare: dict[str, str] = {}
    for name in names:
        bare.setdefault(plain(name), name)
    if len(bare) >= CODES and all(" " not in name and len(name) <= LONG for name in bare):
        return []
    # Two words are near if leaving out at most a letter of each makes them equal; so that nobody compares all with all.
    without: dict[tuple[str, ...], list[str]] = {}
    for name in bare:
        words = name.split()
        for place, word in enumerate(words):
            if len(word) >= SHORT and word.isalpha():
                for shorter in {word, *(word[:at] + word[at + 1 :] for at in range(1, len(word)))}:
                    without.setdefault((*words[:place], f"{place} {shorter}", *words[place + 1 :]), []).append(name)
    pairs = {
        tuple(sorted((one, other))) for alike in without.values() for one in alike for other in alike if one != other
    }
    near = []
    for one, other in sorted(pairs):
        first, second = next((a, b) for a, b in zip(one.split(), other.split(), strict=True) if a != b)
        if min(len(first), len(second)) >= LONG or set(first) == set(second):
            near.append((bare[one], bare[other]))
    return near


def plain(name: str) -> str:
    """Strip from a name what is often written in several ways: case, accents' composition, spaces, underscores, hyphens."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()


def listed(names: Sequence[str], most: int = 5) -> str:
    """Join the first few names with commas."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
