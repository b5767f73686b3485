"""A model that follows a script: a loopback server that OpenCode takes for an OpenAI-compatible provider.

What it answers is the script's (see conversation.py); this file only speaks HTTP and server-sent events.
"""

from __future__ import annotations

import json
import socketserver
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from meshfleet.demo.conversation import (
    Call,
    Calls,
    Conversation,
    Fail,
    Reply,
    Say,
    Script,
    parse_conversation,
)

MODEL_ID: Final = "m"
PROVIDER_ID: Final = "scripted"
SESSION_TITLE: Final = "Scripted session"

#: Largest request taken, bytes: a prompt of 1 MiB comes again with every tool result.
MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
#: Requests remembered for whoever looks afterwards.
MAX_REMEMBERED: Final = 1000
#: A rough count is enough for token figures that are not zero.
CHARACTERS_PER_TOKEN: Final = 4


def opencode_config(base_url: str) -> dict[str, Any]:
    """The OpenCode configuration that makes the server at `base_url` its only model, for titles too."""
    model = f"{PROVIDER_ID}/{MODEL_ID}"
    return {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "model": model,
        "small_model": model,
        "provider": {
            PROVIDER_ID: {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Scripted",
                "options": {"baseURL": base_url, "apiKey": "unused"},
                "models": {MODEL_ID: {"name": MODEL_ID, "tool_call": True}},
            }
        },
    }


class ScriptedModel:
    """Serves `script` on a free loopback port for as long as the `with` block lasts.

    Each request gets a thread of its own, so a script may block; the requests for a session title are
    answered without asking it. A script that raises makes the request fail with 400, which OpenCode does not
    retry; what it raised is in `script_errors`.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._requests: deque[Conversation] = deque(maxlen=MAX_REMEMBERED)
        self._arrived = threading.Condition()
        self._stopping = threading.Event()
        self.script_errors: list[Exception] = []
        self._server = _LoopbackServer(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="scripted-model",
            daemon=True,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base_url(self) -> str:
        """The address an OpenAI-compatible client is given, ending in /v1."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def requests(self) -> tuple[Conversation, ...]:
        """The last thousand requests, oldest first, title requests included."""
        with self._arrived:
            return tuple(self._requests)

    def wait_for_request(self, wanted: Callable[[Conversation], bool], timeout_s: float) -> Conversation:
        """The first remembered request that is `wanted`, waiting for it.

        Raises:
            TimeoutError: None came within `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            while True:
                for request in self._requests:
                    if wanted(request):
                        return request
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no such request in {timeout_s} s; {len(self._requests)} others came")
                self._arrived.wait(left)

    def reply_to(self, conversation: Conversation) -> Reply:
        """The script's answer, after its delay; a delay ends early when the server is stopped."""
        with self._arrived:
            self._requests.append(conversation)
            self._arrived.notify_all()
        if conversation.is_title_request:
            return Say(SESSION_TITLE)
        try:
            reply = self._script(conversation)
        except Exception as error:  # noqa: BLE001 - whatever a script raises belongs in front of its author
            self.script_errors.append(error)
            reply = Fail(HTTPStatus.BAD_REQUEST, f"the script failed: {type(error).__name__}: {error}")
        self._stopping.wait(reply.after_s)
        return reply


class _LoopbackServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, model: ScriptedModel) -> None:
        self.model = model
        super().__init__(("127.0.0.1", 0), _Exchange)

    def server_bind(self) -> None:
        """Bind without the host name look-up of HTTPServer, which waits for DNS on machines without one."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silence: the only way to get here is a client that hung up, such as an OpenCode that was killed."""


class _Exchange(BaseHTTPRequestHandler):
    """One connection: parse, ask the model, write."""

    server: _LoopbackServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            self._write_error(HTTPStatus.NOT_FOUND, f"no {self.path} here, only /v1/models and /v1/chat/completions")
            return
        self._write_json(HTTPStatus.OK, {"object": "list", "data": [{"id": MODEL_ID, "object": "model"}]})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_REQUEST_BYTES:
            self.close_connection = True
            self._write_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{length} bytes are more than {MAX_REQUEST_BYTES}")
            return
        raw = self.rfile.read(length)
        if self.path != "/v1/chat/completions":
            self._write_error(HTTPStatus.NOT_FOUND, f"no {self.path} here, only /v1/models and /v1/chat/completions")
            return
        try:
            conversation = parse_conversation(json.loads(raw))
        except (ValueError, KeyError, TypeError) as error:
            self._write_error(HTTPStatus.BAD_REQUEST, f"not a chat-completions request: {error!r}")
            return
        reply = self.server.model.reply_to(conversation)
        if isinstance(reply, Fail):
            self._write_error(reply.status, reply.message)
        elif conversation.body.get("stream"):
            self._write(HTTPStatus.OK, "text/event-stream", _event_stream(reply, _usage(raw, reply)))
        else:
            self._write_json(HTTPStatus.OK, _completion(reply, _usage(raw, reply)))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Nothing: `ScriptedModel.requests` is the log."""

    def _write_error(self, status: int, message: str) -> None:
        self._write_json(status, {"error": {"message": message, "type": "scripted", "code": status}})

    def _write_json(self, status: int, document: Mapping[str, Any]) -> None:
        self._write(status, "application/json", json.dumps(document).encode())

    def _write(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _message(reply: Say | Call | Calls) -> dict[str, Any]:
    if isinstance(reply, Say):
        return {"role": "assistant", "content": reply.text}
    calls = reply.calls if isinstance(reply, Calls) else (reply,)
    return {
        "role": "assistant",
        "content": reply.saying or None,
        "tool_calls": [
            {
                "id": f"call_{uuid.uuid4().hex}",
                "type": "function",
                "function": {"name": call.tool, "arguments": json.dumps(call.arguments)},
            }
            for call in calls
        ],
    }


def _finish_reason(reply: Say | Call | Calls) -> str:
    return "stop" if isinstance(reply, Say) else "tool_calls"


def _usage(request: bytes, reply: Say | Call | Calls) -> dict[str, int]:
    prompt = max(1, len(request) // CHARACTERS_PER_TOKEN)
    completion = max(1, len(json.dumps(_message(reply))) // CHARACTERS_PER_TOKEN)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _completion(reply: Say | Call | Calls, usage: Mapping[str, int]) -> dict[str, Any]:
    choice = {"index": 0, "message": _message(reply), "finish_reason": _finish_reason(reply)}
    return {**_envelope("chat.completion"), "choices": [choice], "usage": usage}


def _event_stream(reply: Say | Call | Calls, usage: Mapping[str, int]) -> bytes:
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in _chunks(reply, usage)]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


def _chunks(reply: Say | Call | Calls, usage: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    envelope = _envelope("chat.completion.chunk")
    message = _message(reply)

    def chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        return {**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}

    yield chunk({"role": "assistant", "content": message["content"] or ""})
    for index, call in enumerate(message.get("tool_calls", ())):
        yield chunk({"tool_calls": [{"index": index, **call}]})
    yield chunk({}, _finish_reason(reply))
    yield {**envelope, "choices": [], "usage": usage}


def _envelope(kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": MODEL_ID,
    }
