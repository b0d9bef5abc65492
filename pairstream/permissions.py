"""Whether the brokers let a process do its work, and the ACLs that would: asked, printed, made."""

import shlex
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, get_args

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from pairstream.cluster import ANSWER_SECONDS, Cluster
from schemas.acls import Resource, Role, Rule, missing, rules
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings
from schemas.topics import Names

ROLE_NAMES: tuple[Role, ...] = get_args(Role)

Allowed = dict[tuple[Resource, str], set[str]]


def check_permissions(cluster: Cluster, settings: KafkaSettings, role: Role) -> None:
    """At the start, since most of what is forbidden would show only when it is tried.

    Only where we are somebody to the brokers; those that do not tell what they allow are believed.

    Raises: PairstreamError that names what is missing.
    """
    if settings.security_protocol == "PLAINTEXT":
        return
    wanted = rules(role, "", Names(settings.topic_prefix))
    lacking = missing(wanted, _allowed(cluster.admin, wanted))
    if lacking:
        what = ", ".join(f"{rule.operation} on {rule.resource} {rule.name}" for rule in lacking)
        raise PairstreamError(
            f"the brokers do not allow the {role} all that it needs: {what}; "
            f"`pairstream topics acls --role {role}` prints the ACLs"
        )


def _allowed(admin: AdminClient, wanted: Iterable[Rule]) -> Allowed:
    """What we may do with each resource, as far as the brokers tell it."""
    topics = [rule.name for rule in wanted if rule.resource == "topic"]
    groups = [rule.name for rule in wanted if rule.resource == "group"]
    asked = {"include_authorized_operations": True, "request_timeout": ANSWER_SECONDS}
    found: Allowed = {}
    unique = list(dict.fromkeys(topics))
    for name, told in admin.describe_topics(TopicCollection(unique), **asked).items():
        _note(found, ("topic", name), told)
    for name in dict.fromkeys(groups):
        for told in admin.describe_consumer_groups([name], **asked).values():
            _note(found, ("group", name), told)
    return found


def _note(found: Allowed, resource: tuple[Resource, str], told: "Future[Any]") -> None:
    try:
        operations = told.result().authorized_operations
    except KafkaException as error:
        if error.args[0].code() in (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.GROUP_AUTHORIZATION_FAILED,
        ):
            found[resource] = set()
        return
    if operations:
        found[resource] = {operation.name for operation in operations}


def script(made: Sequence[Rule], bootstrap_servers: str) -> list[str]:
    """Lines for kafka-acls.sh, one for each principal and resource. Pure."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for rule in made:
        grouped.setdefault((rule.principal, rule.resource, rule.name), []).append(rule.operation)
    return [
        shlex.join(
            [
                *("kafka-acls.sh", "--bootstrap-server", bootstrap_servers),
                *("--command-config", "admin.properties", "--add"),
                *("--allow-principal", principal, f"--{resource}", name),
                *(word for each in operations for word in ("--operation", _spelt(each))),
            ]
        )
        for (principal, resource, name), operations in grouped.items()
    ]


def _spelt(operation: str) -> str:
    """As the tool wants it: DescribeConfigs."""
    return operation.title().replace("_", "")


def apply_rules(cluster: Cluster, made: Iterable[Rule]) -> None:
    """Create the ACLs; those that are there stay as they are.

    Raises: PairstreamError with the broker's reason.
    """
    bindings = [binding(rule) for rule in made]
    answers = cluster.admin.create_acls(bindings, request_timeout=ANSWER_SECONDS)
    for answer in answers.values():
        try:
            answer.result()
        except KafkaException as error:
            raise PairstreamError(
                f"the ACLs cannot be made: {error.args[0].str()}; it takes a super user, or ALTER "
                "on the cluster, and brokers with an authorizer.class.name"
            ) from error


def binding(rule: Rule) -> AclBinding:
    return AclBinding(
        ResourceType[rule.resource.upper()],
        rule.name,
        ResourcePatternType.LITERAL,
        rule.principal,
        "*",
        AclOperation[rule.operation],
        AclPermissionType.ALLOW,
    )
