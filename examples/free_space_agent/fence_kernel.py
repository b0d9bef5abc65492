"""The walls that the kernel holds, where it can: Linux, without any privilege. Standard library.

Each function says whether the wall stands; what it can do without is left to its caller.
"""

import ctypes
import os
import struct

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000

_PR_SET_NO_NEW_PRIVS = 38

_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_REMOVE_AND_MAKE = 0b1_1111_1111 << 4  # remove folders and files, make each kind of file
_MOVE_BETWEEN_FOLDERS = 1 << 13  # since version 2
_TRUNCATE = 1 << 14  # since version 3

_libc = ctypes.CDLL(None, use_errno=True)


def confine_writes(folder: str) -> bool:
    """From now on, change files beneath `folder` only (or write to /dev/null), and execute none.

    Returns: False where the kernel has no Landlock. Raises: OSError when it has and refuses.
    """
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_long(0), ctypes.c_long(1))
    if version < 1:
        return False
    writes = _WRITE_FILE | _REMOVE_AND_MAKE
    writes |= _MOVE_BETWEEN_FOLDERS if version >= 2 else 0
    writes |= _TRUNCATE if version >= 3 else 0
    attributes = struct.pack("=Q", writes | _EXECUTE)
    ruleset = _call(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    _allow(ruleset, folder, writes)
    _allow(ruleset, os.devnull, _WRITE_FILE)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        raise OSError(ctypes.get_errno(), "prctl")
    _call(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return True


def leave_network() -> bool:
    """Move into a network of this process alone, with no interface up.

    Returns: False where the kernel, or the container, has no namespaces for us.
    """
    return bool(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", rights, opened)
    _call(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    os.close(opened)


def _call(number: int, *arguments: int | bytes) -> int:
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *converted)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result
