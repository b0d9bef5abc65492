"""Settings of librdkafka clients: pure functions of ours to Kafka's names."""

from confluent_kafka import KafkaError

from schemas.settings import KafkaSettings
from schemas.topics import MAX_RECORD_BYTES

ClientConfig = dict[str, str | int | float | bool]

# No error: a consumer has read all that is there.
END_OF_PARTITION: int = KafkaError._PARTITION_EOF

# `KafkaError.retriable` is true of a transactional producer's errors only.
_WAITING_CURES = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._DESTROY,
        KafkaError._DESTROY_BROKER,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


def waiting_cures(error: KafkaError) -> bool:
    """Whether the same request may succeed a little later."""
    return error.code() in _WAITING_CURES


def connection(settings: KafkaSettings) -> ClientConfig:
    """What every client needs: brokers and security."""
    wanted: dict[str, str | None] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": settings.sasl_password,
        "sasl.oauthbearer.method": "oidc" if settings.sasl_mechanism == "OAUTHBEARER" else None,
        "sasl.oauthbearer.token.endpoint.url": settings.sasl_oauthbearer_token_endpoint_url,
        "sasl.oauthbearer.client.id": settings.sasl_oauthbearer_client_id,
        "sasl.oauthbearer.client.secret": settings.sasl_oauthbearer_client_secret,
        "sasl.oauthbearer.scope": settings.sasl_oauthbearer_scope,
        "https.ca.location": settings.https_ca_location,
        "ssl.ca.location": settings.ssl_ca_location,
        "ssl.certificate.location": settings.ssl_certificate_location,
        "ssl.key.location": settings.ssl_key_location,
        "ssl.key.password": settings.ssl_key_password,
    }
    # Errors only: its warnings are about what it is about to try again.
    given: ClientConfig = {name: value for name, value in wanted.items() if value is not None}
    return {"log_level": 3, "socket.timeout.ms": 15_000} | given


def producer(settings: KafkaSettings) -> ClientConfig:
    """Idempotent, every in-sync replica acknowledges, keys placed as Java's clients place them.

    librdkafka's own partitioner (CRC32) would put a run on another partition than every other
    client of the ecosystem does.
    """
    return connection(settings) | {
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": 5,
        "message.max.bytes": MAX_RECORD_BYTES,
        "queue.buffering.max.messages": 500_000,
        "delivery.timeout.ms": 120_000,
    }


def reader(settings: KafkaSettings, *, group: str) -> ClientConfig:
    """A consumer by assignment: nothing is committed unless asked for, a lost offset is an error.

    `group` is only a name here: no membership, no rebalances.
    """
    return connection(settings) | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": True,
        "enable.partition.eof": True,
        "allow.auto.create.topics": False,
        # Both, or memory follows what stands in the topic: a fetch counts before it is unpacked,
        # the queue only between two. A record that is larger comes nevertheless, alone.
        "queued.max.messages.kbytes": 8_192,
        "fetch.message.max.bytes": 256 * 1024,
        # By default it does nothing for a second when that queue has been full.
        "fetch.queue.backoff.ms": 10,
    }
