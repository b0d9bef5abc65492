"""What a training may put where the trainer's readers look for a file: in its folder it can."""

import os
from pathlib import Path


def secret_link(path: Path) -> None:
    """Of somebody else's file, which looks like what is wanted."""
    secret = path.with_name("secret")
    secret.write_text('{"step":1,"steps":2,"loss":0.5}\n')
    path.symlink_to(secret)


# Opening a FIFO waits until somebody writes to it.
LEFT_IN_PLACE = (secret_link, os.mkfifo, Path.mkdir)
