"""Why brokers do not take us, as a line that says what to check."""

from pathlib import Path

from confluent_kafka import KafkaError

from schemas.errors import InvalidSettings
from schemas.settings import ENVIRONMENT_PREFIX, KafkaSettings

FILES = ("ssl_ca_location", "ssl_certificate_location", "ssl_key_location", "https_ca_location")

_UNREACHED = {KafkaError._TRANSPORT, KafkaError._RESOLVE}


class Refusals:
    """What a client's `error_cb` has told.

    Attributes:
        told: that we are refused, and what to check; None while we are not.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self.told: str | None = None
        self._settings = settings
        self._errors: set[int] = set()

    def note(self, error: KafkaError) -> None:
        """Take in an error; any one may be followed by others."""
        remedy = _remedy(error, self._settings)
        if remedy is not None:
            # A token endpoint's whole answer may be in it.
            why = error.str().partition("\n")[0]
            self.told = f"the broker refused us: {why}; {remedy}"
        self._errors.add(error.code())

    @property
    def silence(self) -> str:
        """What to say where no broker answered in time."""
        speaks = ", and with TLS" if self._settings.security_protocol.endswith("SSL") else ""
        remedy = (
            f"is it running, and there{speaks}? PAIRSTREAM_BOOTSTRAP_SERVERS says where, and "
            f"`{_embedded(self._settings.bootstrap_servers)}` starts one for development"
        )
        if KafkaError._ALL_BROKERS_DOWN in self._errors and not self._errors & _UNREACHED:
            # Connections were made, and ended by the other side.
            remedy = "it ends our connections: check PAIRSTREAM_SECURITY_PROTOCOL"
        return f"no broker answers at {self._settings.bootstrap_servers}: {remedy}"


def _embedded(servers: str) -> str:
    """The command after which an embedded broker is where we look for one, if it can be there."""
    host, _, port = servers.rpartition(":")
    is_ours = host in ("127.0.0.1", "localhost") and port.isdecimal()
    return f"pairstream broker --port {port}" if is_ours else "pairstream broker"


def check_files(settings: KafkaSettings) -> None:
    """Of a missing one librdkafka says no name. Raises: InvalidSettings."""
    for name in FILES:
        file = getattr(settings, name)
        if file is not None and not Path(file).is_file():
            raise InvalidSettings(
                f"{ENVIRONMENT_PREFIX}{name.upper()} names {file}, which is no file: "
                "name one that is there"
            )


def _remedy(error: KafkaError, settings: KafkaSettings) -> str | None:
    """What to check where the broker, or who gives tokens for it, does not take us."""
    if error.code() == KafkaError._SSL or "SSL alert" in error.str():
        return (
            "check PAIRSTREAM_SSL_CA_LOCATION, the name in the broker's certificate, and, where it "
            "wants one of ours, PAIRSTREAM_SSL_CERTIFICATE_LOCATION"
        )
    if error.code() not in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
        return None
    if settings.sasl_mechanism == "OAUTHBEARER":
        return (
            "check PAIRSTREAM_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL, "
            "PAIRSTREAM_SASL_OAUTHBEARER_CLIENT_ID and PAIRSTREAM_SASL_OAUTHBEARER_CLIENT_SECRET"
        )
    return "check PAIRSTREAM_SASL_USERNAME, PAIRSTREAM_SASL_PASSWORD and PAIRSTREAM_SASL_MECHANISM"
