"""The relay with a handler that kills the process for certain bodies, as a defect in a library might."""

import os
import signal

from service.cli import main as cli
from service.core.delivery import ALWAYS_OURS, Delivery, Ownership
from service.core.handler import Handler, Job
from service.worker import app

KILLER = b"killer"


class Deadly(Handler):
    """A handler that kills its process for some requests."""

    def read(self, delivery: Delivery, ownership: Ownership = ALWAYS_OURS) -> Job:
        """Kill the process, or read the delivery."""
        _kill(delivery)
        return super().read(delivery, ownership)

    async def read_in_steps(self, delivery: Delivery, ownership: Ownership = ALWAYS_OURS) -> Job:
        """Do the same in steps."""
        _kill(delivery)
        return await super().read_in_steps(delivery, ownership)


def _kill(delivery: Delivery) -> None:
    if KILLER in delivery.body:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    vars(app)["Handler"] = Deadly
    cli.main()
