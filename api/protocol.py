"""HTTP/1.1 with deadlines: uvicorn waits for ever for headers and bodies that do not come."""

import asyncio
import json
import socket
from typing import Any, cast

import h11
import structlog
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from api.edge import HEADERS
from api.schemas.body import Problem
from domain.errors import DeadlineExceeded, MalformedRequest, MoorageError
from domain.names import new_id

SILENCE = 15.0  # seconds without a byte while one is awaited, and for all headers of a request together
# Seconds between two requests: longer than clients (httpx 5, nginx 60) reuse a connection. Whoever sends on it just as
# we close it gets a reset instead of an answer.
KEEP_ALIVE = 75
# Bytes of an answer that the kernel may hold unsent: left alone it takes megabytes for a client that does not read, and
# nobody notices for as long.
UNSENT = 131_072

_log = structlog.get_logger()


class DeadlineProtocol(H11Protocol):
    """One timer per connection. Silence while the answer is made, or while we do not read, is not the client's; between
    two requests uvicorn's keep-alive timer does the same work. Another one runs while the client does not take what it
    asked for: some 50 kB have to go within its time, else the connection is cut.
    """

    silence = SILENCE
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        if hasattr(socket, "TCP_NOTSENT_LOWAT") and (connection := transport.get_extra_info("socket")):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self._heard = self._began = self.loop.time()
        self._deadline = self.loop.call_later(self.silence, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._taken_again()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes no more: whatever is sent from here on waits in our memory."""
        super().pause_writing()
        self._patience = self.loop.call_later(self.silence, self.transport.abort)

    def resume_writing(self) -> None:
        self._taken_again()
        super().resume_writing()

    def _taken_again(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        if self._between_requests and not self.conn.trailing_data[0]:
            self._began = self._heard
        super().data_received(data)

    def _look(self) -> None:
        now = self.loop.time()
        since = self._silent_since(now)
        if now - since < self.silence:
            self._deadline = self.loop.call_later(since + self.silence - now, self._look)
        elif not self.transport.is_closing():
            self._close()

    def _silent_since(self, now: float) -> float:
        if self._between_requests and self.timeout_keep_alive_task is None:
            return self._began
        self._began = now
        if self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused:
            return self._heard
        self._heard = now
        return now

    @property
    def _between_requests(self) -> bool:
        """Headers are awaited, or those that came are not complete."""
        return bool(self.conn.their_state is h11.IDLE)

    def _close(self) -> None:
        if not self._between_requests or self.conn.trailing_data[0]:
            self._refuse(DeadlineExceeded("The request did not arrive in time."), 408)
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Called while the parser's exception is handled."""
        self._refuse(MalformedRequest("The request is no HTTP/1.1, or its headers are too long."), 400)
        self.transport.close()

    def _refuse(self, error: MoorageError, status: int) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the application may not answer what is answered here
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        request_id = new_id()
        body = _problem(error, status, request_id)
        headers = [
            *HEADERS.items(),
            ("X-Request-ID", request_id),
            ("Content-Type", "application/problem+json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        _log.info("request", route="unread", status=status, request_id=request_id)
        reason = STATUS_PHRASES[status]
        events: list[Any] = [h11.Response(status_code=status, headers=headers, reason=reason), h11.Data(data=body)]
        for event in [*events, h11.EndOfMessage()]:
            self.transport.write(self.conn.send(event) or b"")


def _problem(error: MoorageError, status: int, request_id: str) -> bytes:
    found = Problem(
        title=error.title, status=status, detail=error.detail, instance="", code=error.code, request_id=request_id
    )
    return json.dumps(found.body()).encode()
