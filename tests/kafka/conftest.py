"""A deployment of its own for each test, on Apache Kafka."""

from pathlib import Path

import pytest

from pairstream.cluster import Cluster, apply_topics
from tests.apache_kafka import ApacheKafka
from tests.kafka.services import Deployment


@pytest.fixture
def deployment(apache_kafka: ApacheKafka, prefix: str, tmp_path: Path) -> Deployment:
    made = Deployment(apache_kafka.bootstrap_servers, prefix, tmp_path)
    list(apply_topics(Cluster(made.settings), made.settings))
    return made
