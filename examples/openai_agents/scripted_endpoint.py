"""An endpoint that answers as OpenAI's chat completions do, from a script; on the loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What the model says, and the program that it hands to its tool.
TURNS = (
    ("Add up the squares from 1 to 100.", "print(sum(n * n for n in range(1, 101))"),
    ("", "print(sum(n * n for n in range(100)))"),
    ("", "print(sum(n * n for n in range(1, 101)))"),
    ("The sum is 338350.", None),
)


def completion(number: int) -> dict[str, object]:
    text, code = TURNS[number]
    message: dict[str, object] = {"role": "assistant", "content": text}
    if code is not None:
        function = {"name": "execute_python", "arguments": json.dumps({"code": code})}
        message["tool_calls"] = [{"id": f"call_{number}", "type": "function", "function": function}]
    return {
        "id": f"answer-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


@contextmanager
def scripted_endpoint() -> Iterator[str]:
    """Its address while the block lasts."""
    numbers = iter(range(len(TURNS)))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(completion(next(numbers))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the agent's output is what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
