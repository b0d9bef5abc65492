"""Apache Kafka as it is run in earnest: TLS, passwords, tokens, and an authoriser that lets nobody
do what no ACL allows. Certificates and keys are made for each node.
"""

from pathlib import Path

import trustme
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.apache_kafka import ApacheKafka, free_ports
from tests.token_server import AUDIENCE, TokenServer

ADMIN = "admin"
USERS = ("agent", "worker", "trainer", "reader", "bridge")
KEY_PASSWORD = "key-of-the-key"

# Whoever comes by the node's own listener without TLS is the test itself.
PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{tls}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:ANONYMOUS;User:{admin}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
sasl.oauthbearer.jwks.endpoint.url={jwks}
sasl.oauthbearer.expected.audience={audience}
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.ssl.ssl.client.auth=required
listener.name.ssl.ssl.principal.mapping.rules=RULE:^.*CN=([^,]+).*$/$1/
"""


def password_of(user: str) -> str:
    return f"correct-horse-of-{user}"


class SecureKafka(ApacheKafka):
    """`port` is the node's own and lets everything pass; `sasl_port` and `tls_port` are for
    clients. Principals are `ADMIN` (may do all) and `USERS`.
    """

    def __init__(self, home: Path, folder: Path) -> None:
        [self.tls_port] = free_ports(1)
        self.ca = folder / "ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        _write_identity(authority.issue_cert("127.0.0.1"), folder / "broker")
        for user in USERS:
            made = authority.issue_cert(f"{user}@pairstream.test", common_name=user)
            _write_identity(made, folder / user, password=KEY_PASSWORD)
        self.tokens = TokenServer({user: password_of(user) for user in USERS})
        jwks = folder / "jwks.json"
        jwks.write_text(self.tokens.key_set())
        self._jwks = jwks.as_uri()
        self.java_options = (f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._jwks}",)
        super().__init__(home, folder)

    def more_properties(self, controller: int) -> str:
        return PROPERTIES.format(
            port=self.port,
            sasl=self.sasl_port,
            tls=self.tls_port,
            controller=controller,
            admin=ADMIN,
            users=" ".join(f'user_{user}="{password_of(user)}"' for user in (ADMIN, *USERS)),
            jwks=self._jwks,
            audience=AUDIENCE,
            folder=self.folder,
        )

    def add_scram_users(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            info = ScramCredentialInfo(mechanism, 4096)
            wanted = [
                UserScramCredentialUpsertion(user, info, password_of(user).encode())
                for user in USERS
            ]
            for made in admin.alter_user_scram_credentials(wanted).values():
                made.result()

    def by_password(self, user: str, mechanism: str = "PLAIN") -> dict[str, str]:
        """The settings of a principal, as variables."""
        return self._over_tls() | {
            "PAIRSTREAM_SASL_MECHANISM": mechanism,
            "PAIRSTREAM_SASL_USERNAME": user,
            "PAIRSTREAM_SASL_PASSWORD": password_of(user),
        }

    def by_token(self, user: str) -> dict[str, str]:
        return self._over_tls() | {
            "PAIRSTREAM_SASL_MECHANISM": "OAUTHBEARER",
            "PAIRSTREAM_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": self.tokens.url,
            "PAIRSTREAM_SASL_OAUTHBEARER_CLIENT_ID": user,
            "PAIRSTREAM_SASL_OAUTHBEARER_CLIENT_SECRET": password_of(user),
        }

    def by_certificate(self, user: str) -> dict[str, str]:
        return {
            "PAIRSTREAM_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.tls_port}",
            "PAIRSTREAM_SECURITY_PROTOCOL": "SSL",
            "PAIRSTREAM_SSL_CA_LOCATION": str(self.ca),
            "PAIRSTREAM_SSL_CERTIFICATE_LOCATION": str(self.folder / f"{user}.pem"),
            "PAIRSTREAM_SSL_KEY_LOCATION": str(self.folder / f"{user}.pem"),
            "PAIRSTREAM_SSL_KEY_PASSWORD": KEY_PASSWORD,
        }

    def _over_tls(self) -> dict[str, str]:
        return {
            "PAIRSTREAM_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.sasl_port}",
            "PAIRSTREAM_SECURITY_PROTOCOL": "SASL_SSL",
            "PAIRSTREAM_SSL_CA_LOCATION": str(self.ca),
        }


def _write_identity(made: trustme.LeafCert, stem: Path, *, password: str | None = None) -> None:
    """Key (PKCS 8, which Kafka wants) and certificate in one file."""
    key = load_pem_private_key(made.private_key_pem.bytes(), None)
    secret = key.private_bytes(
        Encoding.PEM,
        PrivateFormat.PKCS8,
        BestAvailableEncryption(password.encode()) if password else NoEncryption(),
    )
    certificates = b"".join(part.bytes() for part in made.cert_chain_pems)
    stem.with_suffix(".pem").write_bytes(secret + certificates)
