"""What agents wrote, as it may be shown: nothing in it steers a terminal or forges a line."""


def is_utf8(text: str) -> bool:
    """Arguments and variables may hold other bytes, which Python keeps as halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """The text on one line; control, format and separator characters as escapes."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
