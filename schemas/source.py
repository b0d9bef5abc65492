"""A topic's identity: offsets mean nothing in another."""

import msgspec


class Source(msgspec.Struct, frozen=True):
    """A topic as the cluster knows it; a re-created one has another id and starts anew."""

    cluster_id: str
    topic: str
    topic_id: str
    partitions: int
