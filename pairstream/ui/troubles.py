"""What the threads behind the pages say of what stands in their way. Pure."""

import sqlite3

from schemas.errors import PairstreamError

_EXPECTED = (PairstreamError, OSError, sqlite3.Error)


def said(error: Exception) -> str:
    """For the pages, in one line."""
    if isinstance(error, _EXPECTED):
        return str(error)
    return f"this failed ({type(error).__name__}): the log of `pairstream ui` says why"


def slip(error: Exception) -> Exception | None:
    """What the log tells with its place: an error that nobody foresaw."""
    return None if isinstance(error, _EXPECTED) else error
