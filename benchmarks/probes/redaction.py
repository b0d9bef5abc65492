"""Microseconds that redaction takes for a kilobyte of text, by setting: `... redaction`.

Of clean code, as most texts are, and of one with something to find in every line.
"""

import json
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from streams.redaction import redact
from streams.redaction_patterns import PATTERNS, Pattern

KILOBYTES = 2_000
LINE = "jo@example.org, +49 30 123456, postgres://me:hunter22@db/x, sk-a1b2c3d4e5f6g7h8i9j0\n"


def per_kilobyte(text: str, patterns: Sequence[Pattern]) -> float:
    texts = [text[:4096]] * (KILOBYTES // 4)
    begun = time.perf_counter()
    for each in texts:
        redact(each, patterns, Counter())
    return (time.perf_counter() - begun) / KILOBYTES * 1e6


def main() -> None:
    code = Path(textwrap.__file__).read_text()  # some 19 KB that hold nothing of the kind
    texts = {"clean": code[-4096:], "dirty": LINE * 50}
    secrets = [pattern for pattern in PATTERNS if pattern.group == "secrets"]
    settings = {"secrets": secrets, "secrets,personal": PATTERNS}
    found = {
        name: {kind: per_kilobyte(text, patterns) for kind, text in texts.items()}
        for name, patterns in settings.items()
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
