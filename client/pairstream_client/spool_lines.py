"""How an event stands in a spool: a line of JSON that holds the checksum of all after it. Pure.

    {"crc":"89abcdef","key":"r-1","headers":{"ce_id":"..."},"value":{...}}

What comes back are the same bytes: the value is taken from the line as it stands there.
"""

import json
import zlib
from json.encoder import encode_basestring_ascii as _quoted

from pairstream_client.events import Event

_BEFORE_CRC = b'{"crc":"'
_AFTER_CRC = len(_BEFORE_CRC) + 8
# In JSON a quote inside of a text follows a backslash, so this stands in no text.
_BEFORE_VALUE = b',"value":'


def to_line(event: Event) -> bytes:
    headers = ",".join([f"{_quoted(n)}:{_quoted(v.decode())}" for n, v in event.headers])
    about = f'","key":{_quoted(event.key.decode())},"headers":{{{headers}}}'
    rest = b"%b%b%b}\n" % (about.encode(), _BEFORE_VALUE, event.value)
    return b"%b%08x%b" % (_BEFORE_CRC, zlib.crc32(rest), rest)


def event_of(line: bytes) -> Event | None:
    """None for a line that is not whole: its writer was killed, or the disk lost part of it."""
    rest = line[_AFTER_CRC:]
    if line[:_AFTER_CRC] != b"%b%08x" % (_BEFORE_CRC, zlib.crc32(rest)):
        return None
    about, _, value = rest.partition(_BEFORE_VALUE)
    try:
        fields = json.loads(b"{%b}" % about.removeprefix(b'",'))
        headers = [(str(name), value.encode()) for name, value in fields["headers"].items()]
        return Event(fields["key"].encode(), value.removesuffix(b"}\n"), headers)
    except (ValueError, KeyError, AttributeError):
        return None  # a line that a stranger wrote
