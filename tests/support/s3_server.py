"""Runs an S3 server (moto) on loopback, and makes buckets on it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import boto3
from moto.server import ThreadedMotoServer


@contextmanager
def s3_server() -> Iterator[str]:
    """Start the server and yield its endpoint; it accepts any access key."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # else it prints each request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def bucket_of(endpoint: str) -> Iterator[tuple[str, Any]]:
    """Create a bucket; yields its name and a boto3 client of its owner."""
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    bucket = f"bucket-{uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    try:
        yield bucket, client
    finally:
        client.close()


def settings_for(endpoint: str, bucket: str) -> dict[str, str]:
    """The service's settings for this bucket."""
    return {"S3_BUCKET": bucket, "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret", "S3_LOCATION": endpoint}
