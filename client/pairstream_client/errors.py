"""Why an event is not sent."""


class Refused(Exception):
    """The event must be dropped; the message is one of a few fixed ones, never an agent's text."""


class NotYet(Refused):
    """The same event may be taken later."""
