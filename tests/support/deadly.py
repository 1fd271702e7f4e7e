"""The relay with a killer in it: a request whose body says so ends the process, as a defect of some library might."""

import os
import signal

from service.app import cli, worker
from service.path.handler import Errand, Handler
from service.words.delivery import Delivery

KILLER = b"killer"


class Deadly(Handler):
    """A handler that dies of some requests."""

    def read(self, delivery: Delivery) -> Errand:
        """Die, or go on."""
        if KILLER in delivery.body:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(delivery)


if __name__ == "__main__":
    vars(worker)["Handler"] = Deadly
    cli.main()
