"""Access tokens of the broker: when they are fetched, kept and renewed. No time is waited for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from service.adapters.rabbitmq import AccessTokens, TokenError, TokenEvents
from service.core.attempt.oauth import Token, TokenFailure

pytestmark = pytest.mark.looptime(noop_cycles=1)

AWAY = TokenFailure("no_connection")


@dataclass(eq=False)
class Server:
    """Gives tokens `NAME-1`, `NAME-2` … that live for ten seconds."""

    name: str = "t"
    failure: TokenFailure | None = None
    takes: float = 0.0
    asked_at: list[float] = field(default_factory=list)
    fixed: str = ""
    expires_in: float = 10

    async def fetch(self) -> Token | TokenFailure:
        self.asked_at.append(now())
        await asyncio.sleep(self.takes)
        return self.failure or Token(self.fixed or f"{self.name}-{len(self.asked_at)}", self.expires_in)


def now() -> float:
    return asyncio.get_running_loop().time()


def tokens_of(server: Server, clock: Callable[[], float] = now) -> tuple[AccessTokens, list[object]]:
    seen: list[object] = []
    events = TokenEvents(
        lambda failure, is_new: seen.append((failure.cause, is_new)),
        lambda seconds, recovered: seen.append((seconds, recovered)),
    )
    return AccessTokens(server, events, clock=clock, jitter=lambda: 0.0), seen


async def test_connections_share_a_token_until_it_has_ended() -> None:
    tokens, _ = tokens_of(server := Server(takes=1))
    assert set(await asyncio.gather(tokens.value(), tokens.value())) == {"t-1"}
    await asyncio.sleep(7.9)  # and the request took a second
    assert await tokens.value() == "t-1"
    await asyncio.sleep(0.2)
    assert await tokens.value() == "t-2"
    assert len(server.asked_at) == 2


async def test_a_server_that_hangs_holds_up_no_connection_while_a_token_is_valid() -> None:
    tokens, _ = tokens_of(server := Server())
    waiting = asyncio.create_task(tokens.after(await tokens.value()))
    server.takes = 3600
    await asyncio.sleep(6)
    assert len(server.asked_at) == 2
    async with asyncio.timeout(0.1):
        assert await tokens.value() == "t-1"
    waiting.cancel()


async def test_a_slow_server_is_not_asked_without_a_pause() -> None:
    tokens, _ = tokens_of(server := Server(takes=9, expires_in=2, fixed="same"))
    waiting = asyncio.create_task(tokens.after(await tokens.value()))
    await asyncio.sleep(9.5)
    assert server.asked_at[1] - server.asked_at[0] == pytest.approx(9.25, abs=0.01)
    waiting.cancel()


async def test_a_token_of_a_second_can_be_used() -> None:
    tokens, _ = tokens_of(server := Server(expires_in=1))
    first = await tokens.value()
    began = now()
    assert (first, await tokens.after(first)) == ("t-1", "t-2")
    assert now() - began == pytest.approx(0.5, abs=0.1)
    assert await tokens.value() == "t-3"
    assert len(server.asked_at) == 3


async def test_all_connections_get_the_next_token_from_one_request() -> None:
    tokens, _ = tokens_of(server := Server())
    began, first = now(), await tokens.value()
    assert set(await asyncio.gather(tokens.after(first), tokens.after(first))) == {"t-2"}
    assert now() - began == pytest.approx(5, abs=0.1)
    assert len(server.asked_at) == 2


async def test_a_valid_token_is_used_while_the_server_is_away_and_no_longer() -> None:
    tokens, seen = tokens_of(server := Server())
    await tokens.value()
    server.failure = AWAY
    await asyncio.sleep(8.5)
    assert await tokens.value() == "t-1"
    await asyncio.sleep(2)
    with pytest.raises(TokenError, match="no_connection"):
        await tokens.value()
    server.failure = None
    await asyncio.sleep(1)
    assert await tokens.value() == "t-3"
    assert seen == [(10.0, False), ("no_connection", True), (10.0, True)]


async def test_a_server_that_is_away_is_asked_again_after_growing_pauses() -> None:
    tokens, _ = tokens_of(server := Server())
    first = await tokens.value()
    server.failure = AWAY
    waiting = asyncio.create_task(tokens.after(first))
    await asyncio.sleep(5 + 0.25 + 0.5 + 1 + 2 + 4 + 5 + 5 + 1)
    pauses = [later - sooner for sooner, later in zip(server.asked_at, server.asked_at[1:], strict=False)]
    assert pauses == pytest.approx([5, 0.25, 0.5, 1, 2, 4, 5, 5], abs=0.1)
    server.failure = None
    assert await waiting == "t-10"


async def test_a_refused_client_is_no_reason_to_ask_in_a_loop() -> None:
    tokens, _ = tokens_of(server := Server(failure=TokenFailure("client_refused", "HTTP 401")))
    for _ in range(100):
        with pytest.raises(TokenError, match="client_refused: HTTP 401"):
            await tokens.value()
    assert len(server.asked_at) == 1


async def test_other_credentials_replace_the_token_at_once() -> None:
    tokens, _ = tokens_of(Server("old"))
    began, first = now(), await tokens.value()
    waiting = asyncio.create_task(tokens.after(first))
    await asyncio.sleep(1)
    tokens.use(Server("new"))
    assert await waiting == "new-1"
    assert now() - began < 1.1


async def test_credentials_replaced_during_a_request_are_the_ones_that_count() -> None:
    tokens, _ = tokens_of(Server("old", takes=2))
    waiting = asyncio.create_task(tokens.after("old-0"))
    await asyncio.sleep(1)
    tokens.use(Server("new"))
    assert await waiting == "new-1"


async def test_a_token_that_was_refused_is_not_used_again() -> None:
    tokens, _ = tokens_of(Server())
    assert await tokens.value() == "t-1"
    tokens.drop_if(refused=False)
    assert await tokens.value() == "t-1"
    tokens.drop_if(refused=True)
    assert await tokens.value() == "t-2"


async def test_a_server_that_repeats_its_token_is_asked_about_twice_in_a_life() -> None:
    tokens, _ = tokens_of(server := Server(fixed="same"))
    first = await tokens.value()
    waiting = asyncio.create_task(tokens.after(first))
    await asyncio.sleep(20.5)
    assert len(server.asked_at) == 5
    server.fixed = "other"
    assert await waiting == "other"


async def test_time_in_which_the_machine_was_suspended_counts() -> None:
    suspended = 0.0
    tokens, _ = tokens_of(Server(), lambda: now() + suspended)
    first = await tokens.value()
    suspended = 3600.0
    began = now()
    assert await tokens.after(first) == "t-2"
    assert now() - began < 1
