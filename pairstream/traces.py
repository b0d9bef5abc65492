"""Whether a process sends traces: where OpenTelemetry's own variables say so.

Nothing of its SDK is imported where no endpoint is named. Whatever is wrong with them is said once
and ends nothing: the variables are often set for all programs of a host.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Literal

import structlog

from schemas.traces import Begin

log = structlog.get_logger()

PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"


def wanted_url(environ: Mapping[str, str]) -> str | None:
    """Where traces are to go; None where no endpoint is named, or something says no. Pure."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporters = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if "otlp" not in (exporter.strip() for exporter in exporters.split(",")):
        return None
    url = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    return url or (f"{base.rstrip('/')}/v1/traces" if base else None)


def unsuited(environ: Mapping[str, str]) -> str | None:
    """Why traces cannot be sent as the variables want it, and what to do. Pure."""
    for name in PROTOCOLS:
        protocol = environ.get(name, "").strip()
        if protocol and protocol != PROTOCOL:
            return f"{name} is {protocol}: set {PROTOCOL}, and the port for it, often 4318"
        if protocol:
            break
    return None


@contextmanager
def tracing(service: Literal["worker", "trainer"]) -> Iterator[Begin | None]:
    """Begins traces within the block, and sends what is left at its end; None: they are off."""
    url = wanted_url(os.environ)
    if url is None:
        yield None
        return
    why = unsuited(os.environ)
    if why is None:
        try:
            from pairstream.traces_sender import open_sender

            sender = open_sender(f"pairstream-{service}", url)
        except ModuleNotFoundError:
            why = "OpenTelemetry's SDK is not installed: pip install 'pairstream[otel]'"
        except ValueError as error:
            why = f"a variable OTEL_* is not as it should be: {error}"
        else:
            with closing(sender):
                yield sender.begin
            return
    log.warning("traces_off", why=why)
    yield None
