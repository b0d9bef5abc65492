"""The one lock of this process's recorders and publishers.

It is held for some microseconds at a time and never while anything is logged. A fork waits for
it, so that a child finds it free and what it guards whole. It lets the same thread in again, for
events that are recorded by signal handlers.
"""

import os
import threading

process_lock = threading.RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=process_lock.acquire,
        after_in_parent=process_lock.release,
        after_in_child=process_lock.release,
    )
