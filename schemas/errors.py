"""Errors that a user can act on: each carries one line that says what is wrong and what to do."""

import errno

# The disk's, or of those who may use it; the name of a file is not always told with them.
DISK_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM
}  # fmt: skip


class PairstreamError(Exception):
    """The command cannot go on; the message is the whole explanation. Exit code 1."""


class InvalidSettings(PairstreamError):
    """A setting is unknown, missing or out of range; the message names it. Exit code 2."""


class InvalidRecord(Exception):
    """A record that can never be processed; it belongs in the dead letters.

    `reason` is one of the words of the contract (`invalid_event`, ...), `detail` is for people and
    never quotes the record's text.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
