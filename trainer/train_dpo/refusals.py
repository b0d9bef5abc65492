"""Exit codes, and what ends a training with one of them."""

from __future__ import annotations

WRONG_USAGE, BAD_DATA, NO_GPU, GPU_MEMORY, NOT_A_NUMBER, CHECK_FAILED = 2, 10, 11, 12, 13, 14
STOPPED = 143


class Refused(Exception):
    """The training cannot go on; `code` is the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
