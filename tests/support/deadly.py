"""The relay with a handler that kills the process for certain bodies, as a defect in a library might."""

import os
import signal

from service.cli import main as cli
from service.core.delivery import Delivery
from service.core.handler import Handler, Job
from service.worker import app

KILLER = b"killer"


class Deadly(Handler):
    """A handler that kills its process for some requests."""

    def read(self, delivery: Delivery) -> Job:
        """Kill the process, or read the delivery."""
        if KILLER in delivery.body:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(delivery)


if __name__ == "__main__":
    vars(app)["Handler"] = Deadly
    cli.main()
