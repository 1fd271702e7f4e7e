"""The sandbox as an ASGI app.

POST /omni/1/advanced         send, with one content for each channel
POST /omni/1/text             send one text through every channel
     /omni/1/scenarios[/key]  the order of channels: see `endpoint/scenario.py`
GET  /omni/1/reports          reports of messages, each once: see `endpoint/reports.py`
GET  /omni/1/logs             the messages of the last 48 hours
     /sandbox/...             control: see `endpoint/control.py`
GET  /                        a page that shows the messages: see `endpoint/page.py` and `endpoint/inbox.py`

Every other path is 404, a known path with another method 405, always in OMNI's error envelope. Web pages of other sites
are refused: see `wire/origin.py`.
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

from service.sandbox.changes import Changes
from service.sandbox.delivery.clock import Clock
from service.sandbox.delivery.pull import ReportQueue
from service.sandbox.delivery.push import WebhookPush
from service.sandbox.delivery.store import Store
from service.sandbox.endpoint.control import ControlEndpoint
from service.sandbox.endpoint.inbox import InboxEndpoint
from service.sandbox.endpoint.page import page_routes
from service.sandbox.endpoint.reports import ReportEndpoint
from service.sandbox.endpoint.scenario import ScenarioEndpoint
from service.sandbox.endpoint.send import SendEndpoint, opened
from service.sandbox.fault.injector import FaultInjector
from service.sandbox.options import Options
from service.sandbox.schema.request import parse_advanced, parse_simple
from service.sandbox.state import State, form_of
from service.sandbox.wire.auth import Access
from service.sandbox.wire.origin import Guard
from service.sandbox.wire.response import failure


def create_app(  # noqa: PLR0913  # each has a default and is passed by name
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
    """Make a sandbox with a state of its own.

    * `api_key`: the only key that is admitted, if given
    * `refused`: keys, tokens and `user:password` pairs that get 401
    * `seed`: makes faults with a probability repeatable
    * `keep`: how many calls, messages and reports are kept, each
    * `speed`: sandbox seconds in one real second
    * `push_anywhere`: push reports to any `notifyUrl`, not only to loopback
    * `hosts`: names by which it is reached, besides its addresses

    The others can be changed later: see `options.py`.
    """
    clock, changes = Clock(speed), Changes()
    state = State(
        access=Access(api_key, frozenset(refused)),
        store=Store(keep),
        injector=FaultInjector(random.Random(seed), keep),  # noqa: S311  # repeatable, and no secret depends on it
        clock=clock,
        options=Options(strict_scenarios, refuse_duplicates, logs_allowed, logs_per_minute, logs_lag),
        report_queue=ReportQueue(keep),
        webhook_push=WebhookPush(clock, keep, anywhere=push_anywhere, announce=changes.announce),
        changes=changes,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await state.webhook_push.close()

    app = Starlette(
        routes=[
            Route("/omni/1/advanced", SendEndpoint(state, parse_advanced), methods=["POST"]),
            Route("/omni/1/text", SendEndpoint(state, parse_simple), methods=["POST"]),
            *ScenarioEndpoint(state).routes(),
            *ReportEndpoint(state).routes(),
            *ControlEndpoint(state).routes(),
            *InboxEndpoint(state).routes(),
            *page_routes(state),
        ],
        exception_handlers={HTTPException: _Missing(state).answer},
        lifespan=lifespan,
        middleware=[Middleware(Guard, hosts=hosts)],
    )
    app.router.redirect_slashes = False  # OMNI's paths are exact
    return app


class _Missing:
    """Unknown paths and methods; POSTs among them are stored like all others."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def answer(self, request: Request, error: Exception) -> Response:
        """Return an error of the router in OMNI's envelope."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = error.headers if isinstance(error, HTTPException) else None
        if request.method == "POST" and not request.url.path.startswith("/sandbox/"):
            store = self._state.store
            store.amend(store.open(opened(request, self._state.clock.now())), status=status)
            store.close()
        return failure(status, form_of(request), headers=headers)
