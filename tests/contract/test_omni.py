"""What the relay assumes about OMNI, checked against the sandbox and against a real account.

A real account is called if `RELAY_TEST_OMNI_URL` and `RELAY_TEST_OMNI_KEY` name one. It sends no message: each call
must be refused.
"""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from service.adapters.omni import Credentials, NoAnswer, OmniAccess, OmniClient
from service.core.attempt.call import OmniCall
from service.core.attempt.outcome import Denied, Outcome, Rejected
from service.core.omni.channel.sms import Sms
from service.core.omni.content import Content
from service.core.request.request import Message
from service.sandbox import create_app, serve

# Taken out of the environment: the relay's own processes refuse a RELAY_ name they do not know.
_URL, _KEY = os.environ.pop("RELAY_TEST_OMNI_URL", ""), os.environ.pop("RELAY_TEST_OMNI_KEY", "")

NOBODY = {"phoneNumber": "not a number"}
CALL = OmniCall(Content(sms=Sms(text="hello")), (Message("message", NOBODY),), "request", 1)


@dataclass(frozen=True)
class Account:
    """An account of OMNI, with its URL and a valid key."""

    access: OmniAccess

    async def post(self, key: str = "") -> Outcome:
        """Post the invalid call, with another key if one is given."""
        client = self._client(key)
        try:
            return await client.post(CALL)
        finally:
            await client.close()

    async def probe(self, key: str = "") -> int | NoAnswer:
        """Call what `omni-relay check` calls."""
        client = self._client(key)
        try:
            return await client.probe()
        finally:
            await client.close()

    def _client(self, key: str) -> OmniClient:
        access = replace(self.access, credentials=Credentials(f"App {key}")) if key else self.access
        return OmniClient(access, lambda: datetime.now(UTC))


@pytest.fixture(params=["sandbox", "real"])
async def omni(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
    if request.param == "real":
        if not (_URL and _KEY):
            pytest.skip("RELAY_TEST_OMNI_URL and RELAY_TEST_OMNI_KEY name no account")
        yield Account(OmniAccess(_URL, Credentials(f"App {_KEY}")))
        return
    async with serve(create_app(api_key="good")) as sandbox:
        yield Account(OmniAccess(sandbox.url, Credentials("App good")))


async def test_a_valid_key_lists_scenarios_and_an_invalid_one_gets_401(omni: Account) -> None:
    assert await omni.probe() in {200, 403}
    assert await omni.probe("wrong") == 401


async def test_an_invalid_key_is_denied_before_anything_else(omni: Account) -> None:
    assert await omni.post("wrong") == Denied("http_401")


async def test_an_invalid_call_is_rejected_with_a_reason(omni: Account) -> None:
    outcome = await omni.post()
    assert isinstance(outcome, Rejected)
    assert outcome.cause == "http_400"
    assert len(outcome.detail) > len("HTTP 400")
