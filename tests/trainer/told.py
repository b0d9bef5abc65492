"""What the topic of trainings tells."""

import msgspec

from pairstream.reader import TopicReader
from schemas.rows import TrainingStep
from schemas.settings import TopicSettings
from schemas.topics import TRAININGS, Names


def told_steps(settings: TopicSettings) -> list[TrainingStep]:
    """All steps, in the order of their times."""
    topic = Names(settings.topic_prefix).topic(TRAININGS)
    decoder = msgspec.json.Decoder(TrainingStep)
    messages = TopicReader(settings, topic, settings.partitions).read()
    return sorted((decoder.decode(m.value() or b"") for m in messages), key=lambda step: step.time)
