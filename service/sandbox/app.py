"""The sandbox as an ASGI app.

POST /omni/1/advanced   send, each channel with its own content
POST /omni/1/text       send one text through every channel
GET  /omni/1/scenarios  no scenarios: an empty list
     /sandbox/…         see `control`

Everything else is 404, a known path with another method 405, always in OMNI's error envelope.
"""

import random
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.answer import failure, success
from service.sandbox.control import Control
from service.sandbox.credential import Access
from service.sandbox.hazard import Hazards
from service.sandbox.intake import Intake, opened
from service.sandbox.judgement import Refusal, SendRequest, judge_advanced, judge_simple
from service.sandbox.ledger import Ledger
from service.sandbox.state import State, form_of


def create_app(
    *,
    api_key: str | None = None,
    refused: Collection[str] = (),
    seed: int | None = None,
    keep: int = 100_000,
) -> Starlette:
    """Make a sandbox with a memory of its own.

    `api_key` is the only key let in, if given; `refused` are keys, tokens and `user:password` pairs sent
    away with 401; `seed` makes faults with a probability repeatable; `keep` bounds what is remembered.
    """
    state = State(
        access=Access(api_key, frozenset(refused)),
        ledger=Ledger(keep),
        hazards=Hazards(random.Random(seed), keep),  # noqa: S311  # repeatable dice for tests, no secrets
        clock=_now,
    )
    missing = _Missing(state)
    app = Starlette(
        routes=[
            Route("/omni/1/advanced", Intake(state, judge_advanced), methods=["POST"]),
            Route("/omni/1/text", Intake(state, _judge_simple), methods=["POST"]),
            Route("/omni/1/scenarios", _Scenarios(state).page, methods=["GET"]),
            *Control(state).routes(),
        ],
        exception_handlers={HTTPException: missing.answer},
    )
    app.router.redirect_slashes = False  # OMNI's paths are exact
    return app


def _now() -> datetime:
    return datetime.now(UTC)


def _judge_simple(document: Mapping[str, object], _now: datetime) -> SendRequest | Refusal:
    return judge_simple(document)


class _Scenarios:
    """The list of scenarios: there are none."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def page(self, request: Request) -> Response:
        """Answer with an empty page."""
        if not self._state.access.allows(request.headers.get("authorization", "")):
            return failure(401, form_of(request))
        return success({"scenarios": []}, form_of(request), "scenariosResponse", {"scenarios": "scenario"})


class _Missing:
    """Paths and methods that are not there; POSTs among them go into the ledger like all others."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def answer(self, request: Request, error: Exception) -> Response:
        """Answer an error of the router in OMNI's envelope."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = error.headers if isinstance(error, HTTPException) else None
        if request.method == "POST" and not request.url.path.startswith("/sandbox/"):
            ledger = self._state.ledger
            ledger.amend(ledger.open(opened(request, self._state.clock())), status=status)
            ledger.close()
        return failure(status, form_of(request), headers=headers)
