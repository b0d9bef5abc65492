"""What agents wrote, as it may be shown: nothing in it steers a terminal or forges a line."""


def printable(text: str) -> str:
    """The text on one line; control, format and separator characters as escapes."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
