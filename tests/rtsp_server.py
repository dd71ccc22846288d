"""A camera that speaks RTSP (RFC 2326), on this machine, for one who watches: MPEG-TS in RTP on its line."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PACKET = 7 * 188  # bytes of MPEG-TS in one packet of RTP (RFC 2250)
DESCRIPTION = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
SECONDS = 20.0


@contextmanager
def rtsp_camera(content: bytes) -> Iterator[tuple[str, list[str]]]:
    """A camera that sends a stream when it is asked to play.

    Args:
        content: MPEG-TS.

    Yields:
        Its address, and the methods that it is asked for, in their order.
    """
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SECONDS)

        def serve() -> None:
            taker, _ = server.accept()
            taker.settimeout(SECONDS)
            with taker, taker.makefile("rb") as lines:
                try:
                    while request := _request(lines):
                        asked.append(request["method"])
                        taker.sendall(_answer(request))
                        if request["method"] == "PLAY":
                            for number, start in enumerate(range(0, len(content), PACKET)):
                                taker.sendall(_packet(number, content[start : start + PACKET]))
                            return
                except OSError:  # who watches has had enough
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/gate", asked
        thread.join(SECONDS)


def _request(lines) -> dict[str, str]:
    """Method and headers of the next request; nothing at the end."""
    first = lines.readline().decode()
    request = {"method": first.partition(" ")[0]} if first else {}
    while first and (line := lines.readline().decode().strip()):
        name, _, value = line.partition(":")
        request[name.strip().lower()] = value.strip()
    return request


def _answer(request: dict[str, str]) -> bytes:
    method, transport = request["method"], request.get("transport", "")
    if method == "SETUP" and "TCP" not in transport:
        status, headers, body = "461 Unsupported Transport", [], ""
    elif method == "SETUP":
        status, body = "200 OK", ""
        headers = ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
    elif method == "DESCRIBE":
        status, headers, body = "200 OK", ["Content-Type: application/sdp"], DESCRIPTION
    else:
        status, headers, body = "200 OK", ["Public: DESCRIBE, SETUP, PLAY, TEARDOWN", "Session: 1"], ""
    lines = [f"RTSP/1.0 {status}", f"CSeq: {request['cseq']}", *headers, f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def _packet(number: int, payload: bytes) -> bytes:
    """RTP in the frame that RTSP puts around it (RFC 2326, section 10.12)."""
    rtp = struct.pack(">BBHII", 0x80, 33, number % 2**16, number * 900, 1) + payload
    return b"$" + struct.pack(">BH", 0, len(rtp)) + rtp
