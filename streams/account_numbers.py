"""Card and account numbers: how much of what looks like one is one, by check sum and length."""

import string

CARD_MIN_DIGITS = 13

# Characters of an account number by country (ISO 13616, the registry of SWIFT).
_BY_LENGTH = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
IBAN_LENGTHS = {
    country: length for length, countries in _BY_LENGTH.items() for country in countries.split()
}


_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")
_AS_DIGITS = str.maketrans({letter: str(int(letter, 36)) for letter in string.ascii_uppercase})


def card_length(text: str) -> int:
    """Of the longest card number that the text begins with, to the end of a word; 0: of none."""
    digits = text.replace(" ", "").replace("-", "")
    end = len(text)
    while len(digits) >= CARD_MIN_DIGITS:
        if passes_luhn(digits):
            return end
        end, word = _before_last_word(text, end)
        digits = digits[: -len(word)]
    return 0


def iban_length(text: str) -> int:
    """Of the account number that the text begins with, to the end of a word; 0: of none.

    By its country's length; of a country that is not known, the whole text or nothing.
    """
    packed = text.replace(" ", "")
    end, length = len(text), IBAN_LENGTHS.get(text[:2], len(packed))
    while len(packed) > length:
        end, word = _before_last_word(text, end)
        packed = packed[: -len(word)]
    return end if len(packed) == length and passes_mod_97(packed) else 0


def _before_last_word(text: str, end: int) -> tuple[int, str]:
    """Where the words before it end, or 0; and the last one before `end`."""
    place = max(text.rfind(" ", 0, end), text.rfind("-", 0, end))
    return max(place, 0), text[place + 1 : end]


def passes_luhn(digits: str) -> bool:
    """The check sum of payment cards (ISO/IEC 7812-1)."""
    from_right = digits[::-1].encode()
    total = sum(from_right[::2]) + sum(from_right[1::2].translate(_DOUBLED))
    return (total - ord("0") * len(digits)) % 10 == 0


def passes_mod_97(packed: str) -> bool:
    """The check sum of account numbers (ISO 13616); without spaces."""
    return int((packed[4:] + packed[:4]).translate(_AS_DIGITS)) % 97 == 1
