"""The pages behind one address of 127.0.0.1, until they are stopped."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from contextlib import closing
from tempfile import TemporaryDirectory

from ..core.errors import UserError
from ..core.extras import fastapi, gradio, load, uvicorn
from .door import Application, Door
from .page import Desk, build_page
from .showing import piece

HOST = "127.0.0.1"
LAST_WORDS = 1  # seconds that open requests have when the server is stopped
# Read by Gradio and what it brings, when they are imported: nothing is told to anybody, nothing is looked up.
SILENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}
FONTS = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")  # of the reader's system


class Server:
    """The pages at an address.

    Args:
        desk: what they have at hand.
        port: of the address; 0: any that is free.

    Attributes:
        address: where to find them; with its secret.

    Raises:
        UserError: when Gradio is not installed, or something else is at this port.
    """

    def __init__(self, desk: Desk, port: int = 0):
        os.environ.update(SILENT)
        with TemporaryDirectory(prefix="fastreid_privacy_app_") as folder:
            # Gradio makes a folder in it, and is then left without a place to write to
            os.environ["GRADIO_TEMP_DIR"] = folder
            load("gradio")
            application = _application(desk)
        try:
            self.socket = socket.create_server((HOST, port))
        except OSError as error:
            raise UserError(
                f"port {port} of {HOST} cannot be had ({error.strerror or error}): choose another --port, or "
                "leave it out for a free one"
            ) from None
        door = Door(application, self.socket.getsockname()[1])
        self.address = door.address
        # lines about requests would have the secret in them
        config = uvicorn.Config(
            door, log_level="warning", access_log=False, timeout_graceful_shutdown=LAST_WORDS
        )
        self.server = uvicorn.Server(config)

    def run(self, ready: Callable[[str], object]) -> None:
        """Serve until :meth:`stop`, or Ctrl-C.

        Args:
            ready: is called with the address, which can be opened from then on.
        """
        logger = logging.getLogger("uvicorn.error")
        logger.addFilter(self._is_news)
        try:
            with closing(self.socket):
                ready(self.address)
                self.server.run(sockets=[self.socket])
        finally:
            logger.removeFilter(self._is_news)

    def _is_news(self, record: logging.LogRecord) -> bool:
        """Whether a line is worth saying: pages that are cut off when the server ends are no error."""
        return not self.server.should_exit

    def stop(self) -> None:
        """Let :meth:`run` end; from any thread."""
        self.server.should_exit = True


def _application(desk: Desk) -> Application:
    sans, mono = FONTS
    return gradio.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        build_page(desk),
        path="/",
        server_name=HOST,
        footer_links=[],
        run_history=False,  # else the browser would keep what was dropped in, on its disk
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        show_error=False,
        theme=gradio.themes.Base(font=sans, font_mono=mono),
        css=piece("page.css"),
    )
