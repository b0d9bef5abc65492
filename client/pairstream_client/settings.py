"""Settings by arguments, else by environment variables, to librdkafka's names.

Pure but for secrets in files.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ENVIRONMENT_PREFIX = "PAIRSTREAM_"
TOPIC = "pairstream.run-events.v1"

Value = str | int | float | bool
Config = dict[str, object]

# By the names that pairstream's own processes use.
PROPERTIES = {
    "bootstrap_servers": "bootstrap.servers",
    "security_protocol": "security.protocol",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_username": "sasl.username",
    "sasl_password": "sasl.password",
    "sasl_oauthbearer_token_endpoint_url": "sasl.oauthbearer.token.endpoint.url",
    "sasl_oauthbearer_client_id": "sasl.oauthbearer.client.id",
    "sasl_oauthbearer_client_secret": "sasl.oauthbearer.client.secret",
    "sasl_oauthbearer_scope": "sasl.oauthbearer.scope",
    "https_ca_location": "https.ca.location",
    "ssl_ca_location": "ssl.ca.location",
    "ssl_certificate_location": "ssl.certificate.location",
    "ssl_key_location": "ssl.key.location",
    "ssl_key_password": "ssl.key.password",
}

# Each may be in a file that a variable ending in `_FILE` names.
SECRETS = ("sasl_password", "sasl_oauthbearer_client_secret", "ssl_key_password")

_DEFAULTS: Config = {
    "bootstrap.servers": "127.0.0.1:9092",
    "client.id": "pairstream-client",
    "enable.idempotence": True,
    "acks": "all",
    # librdkafka's own partitioner would put a run on another partition than other clients do.
    "partitioner": "murmur2_random",
    "compression.type": "lz4",
    "linger.ms": 10,
    "delivery.timeout.ms": 120_000,
    # As long may a topic be missing.
    "topic.metadata.propagation.max.ms": 120_000,
    # What a broker accepts by default, with room for the headers.
    "message.max.bytes": 1_000_000,
    "queue.buffering.max.kbytes": 65_536,
    # A topic that a broker makes by itself has other partitions than `topics apply` gives it.
    "allow.auto.create.topics": False,
    "socket.keepalive.enable": True,
    # Brokers close idle connections, which is no trouble.
    "log.connection.close": False,
    # Its lines would go to the agent's stderr; errors are said through `logging`.
    "log_level": 0,
}

# What is spooled is kept until it is settled: librdkafka need not give it up, nor hold much of it.
_SPOOLED: Config = {
    "delivery.timeout.ms": 0,
    "topic.metadata.propagation.max.ms": 3_600_000,
    "queue.buffering.max.kbytes": 16_384,
}

DEFAULT_SPOOL_BYTES = 256 * 1_048_576
TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


class SpoolSettings(NamedTuple):
    root: Path
    max_bytes: int = DEFAULT_SPOOL_BYTES
    fsync: bool = False


def producer_config(
    environment: Mapping[str, str],
    *,
    bootstrap_servers: object,
    max_queued_events: object,
    overrides: Mapping[str, Value],
    is_spooled: bool = False,
) -> Config:
    """Raises: ValueError that names the argument or the variable."""
    if bootstrap_servers is not None and not isinstance(bootstrap_servers, str):
        raise ValueError("bootstrap_servers is no text of the form host:port,host:port")
    if not isinstance(max_queued_events, int) or max_queued_events < 1:
        raise ValueError("max_queued_events is no whole number from 1")
    by_environment: Config = {
        theirs: environment[ENVIRONMENT_PREFIX + ours.upper()]
        for ours, theirs in PROPERTIES.items()
        if environment.get(ENVIRONMENT_PREFIX + ours.upper())
    }
    by_environment |= _secrets_in_files(environment)
    if by_environment.get("sasl.mechanism") == "OAUTHBEARER":
        by_environment["sasl.oauthbearer.method"] = "oidc"
    by_arguments: Config = {"queue.buffering.max.messages": max_queued_events}
    if bootstrap_servers:
        by_arguments["bootstrap.servers"] = bootstrap_servers
    defaults = {**_DEFAULTS, **_SPOOLED} if is_spooled else _DEFAULTS
    return {**defaults, **by_environment, **by_arguments, **overrides}


def _secrets_in_files(environment: Mapping[str, str]) -> Config:
    found: Config = {}
    for name in SECRETS:
        variable = ENVIRONMENT_PREFIX + name.upper()
        file = environment.get(f"{variable}_FILE")
        if not file:
            continue
        if environment.get(variable):
            raise ValueError(f"{variable} and {variable}_FILE are both set: keep one")
        try:
            found[PROPERTIES[name]] = Path(file).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{variable}_FILE: {file} cannot be read ({type(error).__name__})"
            ) from error
    return found


def spool_settings(
    environment: Mapping[str, str], *, root: object, max_bytes: object, fsync: object
) -> SpoolSettings | None:
    """None without a spool. Raises: ValueError that names the argument."""
    if root is None:
        root = environment.get(ENVIRONMENT_PREFIX + "SPOOL_DIR", "")
    if not isinstance(root, (str, os.PathLike)):
        raise ValueError("spool is no path")
    if not os.fspath(root):
        return None
    if max_bytes is None:
        text = environment.get(ENVIRONMENT_PREFIX + "SPOOL_MAX_BYTES") or DEFAULT_SPOOL_BYTES
        max_bytes = int(text) if re.fullmatch(r"[0-9]{1,18}", str(text)) else text
    if not isinstance(max_bytes, int) or max_bytes < 1:
        raise ValueError("spool_max_bytes is no whole number from 1")
    if fsync is None:
        text = environment.get(ENVIRONMENT_PREFIX + "SPOOL_FSYNC", "").lower()
        fsync = TRUTHS.get(text, text)
    if not isinstance(fsync, bool):
        raise ValueError("spool_fsync is neither true nor false")
    return SpoolSettings(Path(os.fspath(root)).absolute(), max_bytes, fsync)


def topic_name(environment: Mapping[str, str], topic_prefix: object) -> str:
    """Raises: ValueError when the prefix can stand before no topic's name."""
    prefix = topic_prefix
    if prefix is None:
        prefix = environment.get(ENVIRONMENT_PREFIX + "TOPIC_PREFIX", "")
    if not isinstance(prefix, str) or not re.fullmatch(r"[a-zA-Z0-9._-]{0,100}", prefix):
        raise ValueError("topic_prefix is not up to 100 letters, digits, dots, dashes, underscores")
    return prefix + TOPIC
