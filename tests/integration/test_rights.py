"""A missing right is identified, and the check changes nothing."""

import contextlib
import re
from collections.abc import AsyncIterator

import pytest

from service.adapters.rabbitmq import (
    Right,
    RightMissingError,
    Session,
    connect,
    declare,
    missing_rights,
    queues,
    rights_needed,
)
from tests.support.broker import VirtualHost, manage, user

DELAYS = (0.2, 300.0)
WATCHING = {"configure": r"^amq\.gen-.*$", "write": r"^amq\.gen-.*$", "read": r"^(amq\.gen-.*|omni\.results)$"}


@contextlib.asynccontextmanager
async def session_of(url: str) -> AsyncIterator[Session]:
    session = await connect((url,))
    try:
        yield session
    finally:
        await session.close()


@pytest.fixture
async def declared(vhost: VirtualHost) -> VirtualHost:
    """Yield a virtual host with the whole topology."""
    async with session_of(vhost.url) as session:
        await declare(session.connection, DELAYS, passive=False)
    return vhost


def all_but(right: Right) -> dict[str, str]:
    """Return patterns that match everything except one name in one permission."""
    given = dict.fromkeys(("configure", "write", "read"), ".*")
    given[right.permission] = f"^(?!{re.escape(right.resource)}$).*$"
    return given


def contents(vhost: VirtualHost) -> list[object]:
    """List what is in a virtual host."""
    found: list[object] = []
    for kind in ("queues", "exchanges", "bindings", "consumers"):
        things = manage(vhost.node, "GET", f"{kind}/{vhost.name}")
        assert isinstance(things, list)
        names = ("name", "type", "arguments", "source", "destination", "routing_key", "messages")
        found.append([{name: thing.get(name) or None for name in names} for thing in things])  # 0: not counted yet
    return found


@pytest.mark.timeout(120)
async def test_exactly_the_right_that_was_removed_is_reported_missing(declared: VirtualHost) -> None:
    before = contents(declared)
    needed = [right for right in rights_needed(DELAYS, declares=True, replies=True) if not right.to_check]
    for right in needed:
        with user(declared, **all_but(right)) as url:
            async with session_of(url) as session:
                found = await missing_rights(session, needed)
                assert {(one.permission, one.name) for one in found} == {(right.permission, right.name)}
                assert not session.broken.is_set()
    assert contents(declared) == before


async def test_a_user_with_no_right_lacks_all_and_one_with_all_rights_none(declared: VirtualHost) -> None:
    needed = rights_needed(DELAYS, declares=False, replies=True)
    with user(declared) as url:
        async with session_of(url) as session:
            assert {one for one in needed if not one.to_check} <= set(await missing_rights(session, needed))
    async with session_of(declared.url) as session:
        assert await missing_rights(session, needed) == []
        assert await missing_rights(session, rights_needed(DELAYS, declares=True, replies=True)) == []


async def test_an_object_that_does_not_exist_is_no_missing_right_and_is_not_declared(vhost: VirtualHost) -> None:
    before = contents(vhost)
    async with session_of(vhost.url) as session:
        assert await missing_rights(session, rights_needed(DELAYS, declares=True, replies=True)) == []
    assert contents(vhost) == before


@pytest.mark.parametrize(
    ("less", "named"),
    [
        ({"configure": "^$"}, "configure amq.gen-* (queue)"),
        ({"write": "^$"}, "write amq.gen-"),
        ({"read": r"^amq\.gen-.*$"}, "read omni.results (exchange)"),
        ({"read": r"^omni\.results$"}, "read amq.gen-"),
    ],
)
async def test_watching_events_with_too_few_rights_names_the_missing_one(
    declared: VirtualHost, less: dict[str, str], named: str
) -> None:
    with user(declared, **{**WATCHING, **less}) as url:
        async with session_of(url) as session:
            with pytest.raises(RightMissingError, match=re.escape(named)):
                await anext(queues.status_events(session))
