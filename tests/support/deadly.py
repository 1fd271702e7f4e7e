"""The relay with a killer in it: a request whose body says so ends the process, as a defect of some library might."""

import os
import signal

from service.app import cli, worker
from service.path.handler import Effects, Handler, make_handler
from service.rules.policy import Policy
from service.words.delivery import Delivery, Settlement

KILLER = b"killer"


def make_deadly(effects: Effects, policy: Policy) -> Handler:
    """Make a handler that dies of some requests."""
    handle = make_handler(effects, policy)

    async def dare(delivery: Delivery) -> Settlement:
        if KILLER in delivery.body:
            os.kill(os.getpid(), signal.SIGKILL)
        return await handle(delivery)

    return dare


if __name__ == "__main__":
    vars(worker)["make_handler"] = make_deadly
    cli.main()
