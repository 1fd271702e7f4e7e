"""Scenarios: list, create, show, change. OMNI has no path that deletes one.

* Creation returns 201 with the new key. The published examples of that response leave the key out, but without it the
  scenario could not be used.
* Removing the default flag without giving it to another scenario is 409.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.delivery.scenario import Draft, Scenario, parse_scenario
from service.sandbox.endpoint.reports import query_errors
from service.sandbox.endpoint.send import opened
from service.sandbox.schema.request import Refusal
from service.sandbox.state import State, form_of
from service.sandbox.wire.auth import admitted
from service.sandbox.wire.connection import read_body
from service.sandbox.wire.response import failure, success

_ITEMS = {"scenarios": "scenario", "flow": "step"}


class ScenarioEndpoint:
    """The endpoints for the scenarios of one sandbox."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [
            Route("/omni/1/scenarios", self.page, methods=["GET"]),
            Route("/omni/1/scenarios", self.make, methods=["POST"]),
            Route("/omni/1/scenarios/{key}", self.show, methods=["GET"]),
            Route("/omni/1/scenarios/{key}", self.change, methods=["PUT"]),
        ]

    async def page(self, request: Request) -> Response:
        """Return a page of scenarios."""
        form, query = form_of(request), request.query_params
        if not self._allows(request):
            return failure(401, form)
        errors = query_errors(query, "ScenariosQuery")
        if errors:
            return failure(400, form, errors)
        limit, page = int(query.get("limit", 100)), int(query.get("page", 0))
        default = query["isDefault"] == "true" if "isDefault" in query else None
        found = self._state.scenarios.listed(default=default)[page * limit : (page + 1) * limit]
        return success({"scenarios": [self._document(each) for each in found]}, form, "scenariosResponse", _ITEMS)

    async def show(self, request: Request) -> Response:
        """Return one scenario."""
        if not self._allows(request):
            return failure(401, form_of(request))
        found = self._state.scenarios.find(request.path_params["key"])
        return failure(404, form_of(request)) if found is None else self._shown(request, found)

    async def make(self, request: Request) -> Response:
        """Create a scenario; the call is stored like every POST."""
        store = self._state.store
        number = store.open(opened(request, self._state.clock.now()))
        try:
            raw = await read_body(request)
            draft = self._draft(request, raw)
            if isinstance(draft, Draft):
                answer = self._shown(request, self._state.scenarios.add(draft), 201)
            else:
                answer = failure(draft.status, form_of(request), draft.errors)
            store.amend(number, body=raw or b"", status=answer.status_code)
        finally:
            store.close()
        return answer

    async def change(self, request: Request) -> Response:
        """Change a scenario."""
        draft = self._draft(request, await read_body(request))
        if isinstance(draft, Refusal):
            return failure(draft.status, form_of(request), draft.errors)
        found = self._state.scenarios.find(request.path_params["key"])
        if found is None:
            return failure(404, form_of(request))
        changed = self._state.scenarios.change(found, draft)
        return failure(409, form_of(request)) if changed is None else self._shown(request, changed)

    def _draft(self, request: Request, raw: bytes | None) -> Draft | Refusal:
        document = admitted(request, raw, self._state.access)
        if isinstance(document, Refusal):
            return document
        draft = parse_scenario(document)
        return draft if isinstance(draft, Draft) else Refusal(400, draft)

    def _shown(self, request: Request, scenario: Scenario, status: int = 200) -> Response:
        return success(self._document(scenario), form_of(request), "scenario", _ITEMS, status)

    def _document(self, scenario: Scenario) -> dict[str, object]:
        return scenario.document(default=self._state.scenarios.is_default(scenario))

    def _allows(self, request: Request) -> bool:
        return self._state.access.allows(request.headers.get("authorization", ""))
