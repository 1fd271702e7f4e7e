"""The sandbox as an ASGI app.

POST /omni/1/advanced         send, each channel with its own content: see `judgement` and `content`
POST /omni/1/text             send one text through every channel
     /omni/1/scenarios[/key]  the order of channels: see `playbook` and `scenario`
GET  /omni/1/reports          what became of messages, each report once: see `inquiry`, `report`, `journey`
GET  /omni/1/logs             the same, to look at as often as one may
     /sandbox/…               see `control` and `dial`

Everything else is 404, a known path with another method 405, always in OMNI's error envelope. Web pages of other sites
are refused: see `guard`.
"""

import contextlib
import random
from collections.abc import AsyncIterator, Collection

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.delivery.clock import Clock
from service.sandbox.delivery.pull import Mailbox
from service.sandbox.delivery.push import Courier
from service.sandbox.delivery.store import Ledger
from service.sandbox.endpoint.control import Control, Dial
from service.sandbox.endpoint.reports import Inquiry
from service.sandbox.endpoint.scenario import Playbook
from service.sandbox.endpoint.send import Intake, opened
from service.sandbox.fault.injector import Hazards
from service.sandbox.options import Options
from service.sandbox.schema.request import parse_advanced, parse_simple
from service.sandbox.state import State, form_of
from service.sandbox.wire.auth import Access
from service.sandbox.wire.origin import Guard
from service.sandbox.wire.response import failure


def create_app(  # noqa: PLR0913  # every one has a default and is given by its name
    *,
    api_key: str | None = None,
    refused: Collection[str] = (),
    seed: int | None = None,
    keep: int = 100_000,
    speed: float = 1.0,
    strict_scenarios: bool = False,
    refuse_duplicates: bool = False,
    logs_allowed: bool = True,
    logs_per_minute: int = 120,
    logs_lag: float = 0.0,
    push_anywhere: bool = False,
    hosts: Collection[str] = (),
) -> Starlette:
    """Make a sandbox with a memory of its own.

    `api_key` is the only key let in, if given; `refused` are keys, tokens and `user:password` pairs sent
    away with 401; `seed` makes faults with a probability repeatable; `keep` bounds what is remembered;
    `speed` is how many of the sandbox's seconds pass in one of the world's; with `push_anywhere` reports are
    pushed to any `notifyUrl`, not to loopback alone; `hosts` are names by which it is reached, besides its addresses.
    The others can be changed later: see `options`.
    """
    clock = Clock(speed)
    state = State(
        access=Access(api_key, frozenset(refused)),
        ledger=Ledger(keep),
        hazards=Hazards(random.Random(seed), keep),  # noqa: S311  # repeatable dice for tests, no secrets
        clock=clock,
        options=Options(strict_scenarios, refuse_duplicates, logs_allowed, logs_per_minute, logs_lag),
        mailbox=Mailbox(keep),
        courier=Courier(clock, keep, anywhere=push_anywhere),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await state.courier.close()

    app = Starlette(
        routes=[
            Route("/omni/1/advanced", Intake(state, parse_advanced), methods=["POST"]),
            Route("/omni/1/text", Intake(state, parse_simple), methods=["POST"]),
            *Playbook(state).routes(),
            *Inquiry(state).routes(),
            *Control(state).routes(),
            *Dial(state).routes(),
        ],
        exception_handlers={HTTPException: _Missing(state).answer},
        lifespan=lifespan,
        middleware=[Middleware(Guard, hosts=hosts)],
    )
    app.router.redirect_slashes = False  # OMNI's paths are exact
    return app


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
            ledger.amend(ledger.open(opened(request, self._state.clock.now())), status=status)
            ledger.close()
        return failure(status, form_of(request), headers=headers)
