"""All checks, in the order in which things depend on each other."""

from collections.abc import Iterator, Sequence

from pairstream.doctor.brokers import check_brokers
from pairstream.doctor.disk import check_disk
from pairstream.doctor.findings import Finding, guarded
from pairstream.doctor.installation import check_packages, settings_findings
from pairstream.doctor.training import check_training
from schemas.settings import TopicSettings, TrainerSettings


def examine(
    topics: TopicSettings, trainer: TrainerSettings, problems: Sequence[str]
) -> Iterator[Finding]:
    """Findings as they are made; a check that fails holds up no other one.

    Args:
        problems: what is wrong with settings, which stand at their defaults.
    """
    yield from guarded("packages", check_packages)
    yield from settings_findings(problems)
    yield from guarded("brokers", lambda: check_brokers(topics))
    yield from guarded("data dir", lambda: check_disk(trainer.data_dir))
    yield from check_training(trainer)
