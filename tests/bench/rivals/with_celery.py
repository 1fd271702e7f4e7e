"""The job with Celery: one process, threads, confirmed publishing."""

import sys
import threading
from typing import Any

import httpx
from celery import Celery
from job import BROKER, HEADERS, OMNI, PREFETCH, QUEUE, RESULTS, event, payload, requests
from kombu import Connection, Exchange, Producer

app = Celery("rival", broker=BROKER.replace("amqp://", "pyamqp://"))
app.conf.update(
    task_default_queue=QUEUE,
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)
client = httpx.Client(
    headers=HEADERS, timeout=30, limits=httpx.Limits(max_connections=PREFETCH, max_keepalive_connections=PREFETCH)
)
local = threading.local()


def producer() -> Producer:
    """Give this thread's own."""
    if not hasattr(local, "producer"):
        connection = Connection(BROKER, transport_options={"confirm_publish": True})
        local.producer = Producer(connection.channel(), exchange=Exchange(RESULTS, type="topic", no_declare=True))
    return local.producer


@app.task(name="serve")
def serve(body: dict[str, Any]) -> None:
    """Serve one request."""
    answer = client.post(OMNI, json=payload(body))
    content = event(body, answer.json())
    producer().publish(
        content, routing_key="message.accepted", content_type="application/cloudevents+json", content_encoding="utf-8"
    )


if __name__ == "__main__":
    if sys.argv[1] == "load":
        for body in requests(int(sys.argv[2]), sys.argv[3]):
            serve.delay(body)
    else:
        app.worker_main(
            [
                "worker",
                "--pool=threads",
                "--concurrency=20",
                "--loglevel=ERROR",
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
            ]
        )
