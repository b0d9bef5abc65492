"""What secrets and personal data look like, as data.

Each pattern is linear in the text: it begins only where a word begins, every repetition is bounded,
and the long ones never give back what they took (possessive). A test holds this.
"""

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from streams.account_numbers import card_length, iban_length

Group = Literal["secrets", "personal"]


class Pattern(NamedTuple):
    """One kind, or a part of it. Of a match the group `secret`, or else all of it, is taken out.

    `hints`: a text with none of them is not searched. `length_of`: how much of what was found is
    one in earnest, from its beginning; 0: nothing.
    """

    kind: str
    group: Group
    expression: str
    hints: tuple[str, ...]
    length_of: Callable[[str], int] = len


def _if_it_has_a_digit(text: str) -> int:
    return len(text) if any(character.isdigit() for character in text) else 0


# No word goes on to the left, but for the letter of an escape in code; to the right.
_L, _R = r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))", r"(?![A-Za-z0-9_-])"

PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "private_key",
        "secrets",
        # Headers may have dashes. Base64 has none, so this ends where the key ends; one that was
        # cut off, with its text.
        r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?:\s|\\[nr]){1,4}+[A-Za-z][A-Za-z-]{1,30}+: (?:[^\n\\-]|-(?!----)){0,256}+){0,8}+"
        r"[^-]{0,32768}+"
        r"(?:-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----)?",
        ("PRIVATE KEY",),
    ),
    Pattern(
        "jwt",
        "secrets",
        _L + r"eyJ[A-Za-z0-9_-]{8,8192}+\.eyJ[A-Za-z0-9_-]{4,16384}+\.[A-Za-z0-9_-]{0,8192}+",
        ("eyJ",),
    ),
    Pattern(
        "aws_access_key",
        "secrets",
        _L + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}" + _R,
        ("AKIA", "ASIA", "ABIA", "ACCA"),
    ),
    Pattern(
        "aws_secret_key",
        "secrets",
        r"(?i:aws_?secret_?key|secret_?access_?key)\\{0,3}[\"']?\s{0,3}[=:]\s{0,3}\\{0,3}[\"']?"
        r"(?P<secret>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])",
        ("ecret", "ECRET"),
    ),
    Pattern(
        "api_key",
        "secrets",
        _L
        + r"(?:gh[pousr]_[A-Za-z0-9]{36,255}+|github_pat_[A-Za-z0-9_]{22,255}+"
        + r"|glpat-[A-Za-z0-9_-]{20,255}+|hf_[A-Za-z0-9]{30,64}+|npm_[A-Za-z0-9]{36}"
        + r"|pypi-AgE[A-Za-z0-9_-]{50,1024}+|[sr]k_(?:live|test)_[A-Za-z0-9]{16,255}+"
        + r"|sk-(?:ant-|proj-|svcacct-|or-)?[A-Za-z0-9_-]{20,255}+"
        + r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}+|AIza[A-Za-z0-9_-]{35}"
        + r"|ya29\.[A-Za-z0-9_-]{20,2048}+|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}+)",
        (
            *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "hf_", "npm_"),
            *("pypi-", "k_live_", "k_test_", "sk-", "xox", "AIza", "ya29.", "SG."),
        ),
        _if_it_has_a_digit,
    ),
    Pattern(
        "webhook",
        "secrets",
        r"https://hooks\.slack\.com/services/(?P<secret>[A-Za-z0-9/_-]{20,128}+)",
        ("hooks.slack.com",),
    ),
    Pattern(
        "bearer_token",
        "secrets",
        _L + r"(?i:bearer|basic)\s{1,3}(?P<secret>[A-Za-z0-9._~+/=-]{16,4096}+)",
        ("earer", "EARER", "asic", "ASIC"),
        _if_it_has_a_digit,
    ),
    Pattern(
        "password_in_url",
        "secrets",
        # To the last `@`: passwords are put there as they are, too.
        r"(?<=[A-Za-z0-9])://[^\s/:@\"']{0,256}+:"
        r"(?P<secret>[^\s/@\"']{1,256}+(?:@[^\s/@\"']{0,256}+(?=@)){0,8}+)@",
        ("://",),
    ),
    Pattern(
        "email",
        "personal",
        r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}+@(?:[A-Za-z0-9-]{1,63}+\.){1,6}"
        r"[A-Za-z]{2,24}(?![A-Za-z0-9_(-])",
        ("@",),
    ),
    # These begin with a class of characters, which is searched for fast, and look back after it.
    Pattern(
        "iban",
        "personal",
        r"[A-Z](?:(?<![A-Za-z0-9].)|(?<=\\[nrt].))[A-Z][0-9]{2}"
        r"(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])",
        tuple("0123456789"),
        iban_length,
    ),
    Pattern(
        "card_number",
        "personal",
        r"[2-6](?:(?<![A-Za-z0-9.+-].)|(?<=\\[nrt].))"
        r"(?:(?<=4)[0-9]{3}|(?<=5)[1-5][0-9]{2}|(?<=2)[2-7][0-9]{2}"
        r"|(?<=3)[4-8][0-9]{2}|(?<=6)[05][0-9]{2})(?:[ -]?[0-9]){9,15}(?![A-Za-z0-9])",
        tuple("23456"),
        card_length,
    ),
    Pattern(
        "phone_number",
        "personal",
        r"\+(?:(?<![\w+].)|(?<=\\[nrt].))[1-9](?:[ .()/-]{0,2}[0-9]){7,14}(?![0-9])",
        ("+",),
    ),
    Pattern(
        "phone_number",
        "personal",
        r"[(2-9](?:(?<![\w.+(-].)|(?<=\\[nrt].))(?:(?<=\()[2-9][0-9]{2}\) ?|(?<=[2-9])[0-9]{2}-)"
        r"[2-9][0-9]{2}-[0-9]{4}(?![0-9])",
        ("-",),
    ),
)

COMPILED = {each.expression: re.compile(each.expression, re.ASCII) for each in PATTERNS}
