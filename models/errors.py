"""Define the exception that is meant for a user's eyes."""

from __future__ import annotations


class OscineError(ValueError):
    """Something the user can mend. The message is one line: what came, what was expected, what would do."""


class Misuse(OscineError):
    """A call that does not fit its command; its exit code says so."""
