"""What decoding somebody else's JSON raises, whatever its bytes are."""

import msgspec

# Not JSON or not of the type; not UTF-8, which msgspec leaves to Python; nested too deep.
JSON_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
