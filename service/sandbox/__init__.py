"""A simulator of the OMNI HTTP API, for development and tests.

Written from the published description of the API alone: nothing here imports the relay, so a mistake in
the relay's reading of OMNI shows up as a refusal instead of being made twice.

Start at `app` for the paths, `judgement` and `content` for what is refused, `number` for faults asked for by
a phone number, `fault` for faults asked for by a control call, `journey` for which channel reaches a person,
`options` for what can be switched, `clock` for time that runs faster.
"""

from service.sandbox.app import create_app
from service.sandbox.server import Running, run, serve

__all__ = ["Running", "create_app", "run", "serve"]
