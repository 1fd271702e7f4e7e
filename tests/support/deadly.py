"""The relay with a killer in it: a request whose body says so ends the process, as a defect of some library might."""

import os
import signal

from service.cli import main as cli
from service.core.delivery import Delivery
from service.core.handler import Handler, Job
from service.worker import app

KILLER = b"killer"


class Deadly(Handler):
    """A handler that dies of some requests."""

    def read(self, delivery: Delivery) -> Job:
        """Die, or go on."""
        if KILLER in delivery.body:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(delivery)


if __name__ == "__main__":
    vars(app)["Handler"] = Deadly
    cli.main()
