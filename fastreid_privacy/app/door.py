"""Who may come in: the browser of who started the command, and nobody else on this computer.

An address of 127.0.0.1 is open to every user of the computer, and to every page in the browser, which can
send requests there. So the address that the command prints carries a secret, new for each start. It becomes
a cookie that other sites cannot send along. What names another host, comes from another page, is larger than
anything that these pages send, or asks for a part of Gradio that these pages do not need, is refused. Among
those parts are uploads, which Gradio would write to files.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]  # of ASGI

LARGEST_BODY = 128 * 2**20  # bytes: a file of 64 MiB as text, and what is around it
SECRET_BYTES = 24
PARAMETER = "secret"  # of the address
OPEN = "/manifest.json"  # the page's name and icon; browsers ask for it without cookies
READ = ("/theme.css", "/favicon.ico", "/config", "/gradio_api/queue/data")
READ_BELOW = ("/assets/", "/static/", "/gradio_api/heartbeat/")
KEPT = ("/assets/", "/static/")  # that a browser may keep: nothing of what is shown
WRITE = ("/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset")

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # as Gradio's own page is made
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Refusal(NamedTuple):
    """Why somebody is not let in.

    Attributes:
        status: of HTTP.
        reason: in words.
    """

    status: int
    reason: str


class Door:
    """Stands before an application, and lets its one visitor in.

    Args:
        inside: the application.
        port: where it is.

    Attributes:
        address: for the visitor; with the secret.
    """

    def __init__(self, inside: Application, port: int):
        self.inside, self.secret = inside, secrets.token_urlsafe(SECRET_BYTES)
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.cookie = f"fastreid_privacy_{port}"  # cookies do not tell ports apart
        self.address = f"http://127.0.0.1:{port}/?{PARAMETER}={self.secret}"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """As ASGI asks."""
        if scope["type"] == "lifespan":
            await self.inside(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif refusal := self.refusal(scope):
            await _answer(send, refusal.status, refusal.reason)
        elif self._is_secret(_asked(scope)):
            cookie = f"{self.cookie}={self.secret}; Path=/; HttpOnly; SameSite=Strict"
            await _answer(send, 303, "", (b"location", b"/"), (b"set-cookie", cookie.encode()))
        else:
            await self.inside(scope, receive, _careful(scope["path"], send))

    def refusal(self, scope: Message) -> Refusal | None:
        """Why a request is not let in; None: it is."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, method, path = headers.get("host", ""), scope["method"], scope["path"]
        if host not in self.hosts:
            return Refusal(403, "this page is at 127.0.0.1 only")
        if headers.get("origin", f"http://{host}") != f"http://{host}":
            return Refusal(403, "other pages may not ask here")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return Refusal(403, "other pages may not ask here")
        if method == "GET" and path == OPEN:
            return None
        entering = method == "GET" and path == "/"
        if not self._is_secret(self._brought(headers)) and not (entering and self._is_secret(_asked(scope))):
            return Refusal(403, "open the address that the command printed, with its secret")
        if method == "GET":
            known = entering or path in READ or path.startswith(READ_BELOW)
            return None if known else Refusal(404, "there is nothing here")
        if method != "POST" or path not in WRITE:
            return Refusal(404, "there is nothing here")
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return Refusal(415, "only JSON is read here")
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return Refusal(411, "say how long it is")
        if int(length) > LARGEST_BODY:
            return Refusal(413, f"{LARGEST_BODY:,} bytes are the most")
        return None

    def _is_secret(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.secret.encode())

    def _brought(self, headers: dict[str, str]) -> str:
        """The secret that a browser brings along as a cookie; "" where it brings none."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found else ""


def _asked(scope: Message) -> str:
    """The secret in an address."""
    return parse_qs(scope["query_string"].decode("latin-1")).get(PARAMETER, [""])[0]


def _careful(path: str, send: Send) -> Send:
    """Sends on, with headers by which the browser fetches nothing from outside and keeps no picture."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = path.startswith(KEPT)
            ours = {name for name, _ in HEADERS} | (set() if kept else {b"cache-control"})
            theirs = [(name, value) for name, value in message["headers"] if name.lower() not in ours]
            store = () if kept else ((b"cache-control", b"no-store"),)
            message = {**message, "headers": [*theirs, *HEADERS, *store]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    about = ((b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"))
    await send({"type": "http.response.start", "status": status, "headers": [*about, *headers, *HEADERS]})
    await send({"type": "http.response.body", "body": text.encode()})
