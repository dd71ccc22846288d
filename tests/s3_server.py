"""A store that speaks S3, on this machine, empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer


@contextmanager
def s3_server() -> Iterator[boto3.client]:
    """The store's client; fsspec finds the store by the environment, as processes do that begin inside."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # what others of this process have stored is there, too
    with urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST"), timeout=60) as answer:
        assert answer.status == 200
    files = fsspec.get_filesystem_class("s3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files.clear_instance_cache()
        yield boto3.client("s3")
    server.stop()
    files.clear_instance_cache()
