"""What the worker's group member shows the brokers."""

import asyncio
import ssl

import faust
import pytest

from schemas.errors import InvalidSettings
from schemas.settings import KafkaSettings
from streams.credentials import TokenProvider, credentials
from tests.token_server import TokenServer

SECRET = "correct-horse"


def _settings(url: str, **others: str) -> KafkaSettings:
    return KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_mechanism="OAUTHBEARER",
        sasl_oauthbearer_token_endpoint_url=url,
        **{"sasl_oauthbearer_client_id": "worker", **others},
    )


def _tokens(provider: TokenProvider, count: int) -> set[str]:
    async def ask() -> set[str]:
        return set(await asyncio.gather(*(provider.token() for _ in range(count))))

    return asyncio.run(ask())


def test_a_token_serves_for_most_of_its_life() -> None:
    with TokenServer({"worker": SECRET}) as server:
        provider = TokenProvider(_settings(server.url, sasl_oauthbearer_client_secret=SECRET))

        assert len(_tokens(provider, 3) | _tokens(provider, 3)) == 1
        assert server.given == ["worker"]
        assert server.scopes == [None]


def test_a_token_whose_life_is_over_is_not_used_again() -> None:
    with TokenServer({"worker": SECRET}, life_seconds=0) as server:
        settings = _settings(
            server.url, sasl_oauthbearer_client_secret=SECRET, sasl_oauthbearer_scope="kafka"
        )
        provider = TokenProvider(settings)

        _tokens(provider, 1)
        _tokens(provider, 1)

        assert server.given == ["worker", "worker"]
        assert server.scopes == ["kafka", "kafka"]


@pytest.mark.parametrize("secret", [SECRET + "?", ""])
def test_a_refusal_is_an_error_that_aiokafka_waits_out_and_names_no_secret(secret: str) -> None:
    with TokenServer({"worker": SECRET}) as server:
        provider = TokenProvider(_settings(server.url, sasl_oauthbearer_client_secret=secret))

        with pytest.raises(OSError, match="401") as refused:
            _tokens(provider, 1)
    assert SECRET not in str(refused.value)


def test_no_server_is_such_an_error_too() -> None:
    provider = TokenProvider(
        _settings("http://127.0.0.1:1/token", sasl_oauthbearer_client_secret=SECRET)
    )

    with pytest.raises(OSError, match="refused"):
        _tokens(provider, 1)


@pytest.mark.parametrize("missing", ["client_id", "client_secret", "token_endpoint_url"])
def test_a_missing_setting_is_named(missing: str) -> None:
    given = {
        "sasl_oauthbearer_client_id": "worker",
        "sasl_oauthbearer_client_secret": SECRET,
        "sasl_oauthbearer_token_endpoint_url": "http://127.0.0.1:1/token",
    }
    del given[f"sasl_oauthbearer_{missing}"]

    with pytest.raises(InvalidSettings, match=f"PAIRSTREAM_SASL_OAUTHBEARER_{missing.upper()}"):
        TokenProvider(KafkaSettings(**given))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_passwords_go_over_tls_where_the_protocol_says_so(mechanism: str, protocol: str) -> None:
    made = credentials(
        KafkaSettings(
            security_protocol=protocol,
            sasl_mechanism=mechanism,
            sasl_username="worker",
            sasl_password=SECRET,
        )
    )

    assert isinstance(made, faust.SASLCredentials)
    assert made.protocol.value == protocol
    assert made.mechanism.value == mechanism
    if protocol == "SASL_SSL":
        assert made.ssl_context is not None
        assert made.ssl_context.verify_mode is ssl.CERT_REQUIRED
        assert made.ssl_context.check_hostname
    assert SECRET not in repr(made)


def test_certificates_that_cannot_be_read_are_wrong_settings() -> None:
    with pytest.raises(InvalidSettings, match="PAIRSTREAM_SSL_CA_LOCATION"):
        credentials(KafkaSettings(security_protocol="SSL", ssl_ca_location="/not/there.pem"))
