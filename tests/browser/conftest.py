import contextlib
import http.server
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.browser import PROGRAMS, Browser, browser, is_installed


class Sandbox:
    """A running `omni-relay sandbox`, and its client."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self.url = url
        self.client = client

    def send(self, *phone_numbers: str, **fields: Any) -> list[str]:  # noqa: ANN401  # JSON
        """Post one call, with an SMS if nothing else is given; return its message ids."""
        contents = (
            fields
            if fields.keys() & {"sms", "viber", "whatsApp", "email", "voice"}
            else {"sms": {"text": "t"}} | fields
        )
        destinations = [{"to": {"phoneNumber": each}} for each in phone_numbers]
        answer = self.client.post("/omni/1/advanced", json={"destinations": destinations, **contents})
        return [each["messageId"] for each in answer.raise_for_status().json()["messages"]]

    def set(self, **options: object) -> None:
        """Set options."""
        self.client.post("/sandbox/options", json=options).raise_for_status()


@contextlib.contextmanager
def running() -> Iterator[Sandbox]:
    """Run the program."""
    command = [sys.executable, "-c", "from service.cli.main import main; main()", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().split()[-1]
            with httpx.Client(
                base_url=url, headers={"authorization": "App key"}, timeout=10, trust_env=False
            ) as client:
                yield Sandbox(url, client)
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def window() -> Iterator[Browser]:
    """Run one browser for all tests."""
    if not is_installed():
        pytest.skip(f"no browser: {' or '.join(PROGRAMS)} is not installed")
    with browser() as started:
        yield started


@pytest.fixture(scope="session")
def program() -> Iterator[Sandbox]:
    """Run one sandbox for all tests."""
    with running() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(program: Sandbox) -> Sandbox:
    """Return the sandbox, empty and with the options that it starts with."""
    program.client.delete("/sandbox/messages")
    program.client.delete("/sandbox/faults")
    program.set(answers=1, seen=False)
    return program


@pytest.fixture
def page(window: Browser, sandbox: Sandbox) -> Iterator[Browser]:
    """Open the page in a wide, light window; afterwards the console has no errors, and all that was loaded is ours."""
    window.look(1280)
    window.open(sandbox.url)
    window.complaints()
    yield window
    assert window.complaints() == []
    loaded = window.run("return performance.getEntriesByType('resource').map(each => each.name)")
    assert [url for url in loaded if not url.startswith((sandbox.url, "data:"))] == []


@pytest.fixture
def receiver() -> Iterator[tuple[str, "queue.Queue[Any]"]]:
    """Run a receiver of reports; return its URL and what it receives."""
    received: queue.Queue[Any] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name of http.server
            received.put(json.loads(self.rfile.read(int(self.headers["content-length"])))["results"][0])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
