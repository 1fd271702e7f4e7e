"""A simulator of the OMNI HTTP API, for development and tests.

Written from the published description of the API alone. Nothing here imports the relay, so a mistake in the relay's
reading of OMNI shows as a refusal.

app.py      the paths
schema/     which requests are valid
endpoint/   send, reports and logs, scenarios, control, page
delivery/   the simulated delivery, its reports, webhooks, the store, the clock
fault/      injected faults: set by a control call or requested by a phone number
wire/       bodies, formats, credentials, connections
page/       the page: HTML, style, script
changes.py  wakes open pages
options.py  options that can be changed while it runs
"""

from service.sandbox.app import create_app
from service.sandbox.server import Running, run, serve

__all__ = ["Running", "create_app", "run", "serve"]
