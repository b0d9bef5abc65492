"""Listening on addresses, IPv4's and IPv6's."""

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# How soon it notices that it is to end.
_LOOK_SECONDS = 0.05


class HttpServer(ThreadingHTTPServer):
    """Listens on an address of either family; a name is looked up among IPv4's."""

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        """Raises: OSError when it cannot listen there."""
        self.address_family = socket.AF_INET6 if _is_ipv6(host) else socket.AF_INET
        super().__init__((host, port), handler)

    def serve_forever(self, poll_interval: float = _LOOK_SECONDS) -> None:
        super().serve_forever(poll_interval)


def authority(host: str, port: int) -> str:
    """As it stands in a URL."""
    return f"[{host}]:{port}" if _is_ipv6(host) else f"{host}:{port}"


def _is_ipv6(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, host)
    except OSError:
        return False
    return True
