"""An installed RabbitMQ server: where it is, and how its programs are run for a private node.

Either the machine's own, or one in a system tree of its own (another version, unpacked somewhere). A tree
is entered by chroot within a private mount namespace, so that nothing mounted there can be seen, or left
behind, outside. In the tree, a node's directory is seen as /mnt.

A node gets no environment but what is made here: the settings of a broker that this machine may have
anyway must not reach it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from service.demo.rabbitmq.ports import Ports

PROGRAMS = Path("/usr/lib/rabbitmq/bin")  # not those in /usr/sbin: they insist on the system's own user
EPMD = Path("/usr/bin/epmd")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENTER_TREE = """
tree=$1 directory=$2; shift 2
mount -t proc proc "$tree/proc" && mount --bind "$directory" "$tree/mnt" && exec chroot "$tree" "$@"
"""
_ERLANG_ARGUMENTS = (
    # Starting is a ping-pong between schedulers. Threads that spin a moment before they sleep are spared
    # most of its system calls, which in a virtual machine halves the time or better; idle, it costs nothing.
    "+S 2:2 +SDio 2 +sbwt short +sbwtdcpu none +sbwtdio short -kernel inet_dist_use_interface {127,0,0,1}"
)


class NodeError(Exception):
    """A private RabbitMQ node could not do what it was asked to."""


class ServerMissingError(NodeError):
    """There is no RabbitMQ server where one was looked for."""


@dataclass(frozen=True, slots=True)
class Server:
    """RabbitMQ's programs: the machine's own, or those of the system tree at `root`."""

    root: Path | None = None

    def require(self) -> None:
        """Raise unless the programs are there and may be run."""
        for program in (PROGRAMS / "rabbitmq-server", EPMD):
            # A link in a tree points to where it would be from inside, so it is not followed.
            if not os.path.lexists((self.root or Path("/")) / program.relative_to("/")):
                raise ServerMissingError(
                    f"no RabbitMQ server in {self.root or 'this system'} ({program} is missing): install the "
                    "package rabbitmq-server (apt-get install --no-install-recommends rabbitmq-server)"
                )
        if self.root and os.geteuid() != 0:
            raise NodeError(f"only root may enter the system tree {self.root}")

    def command(self, directory: Path, *program: str) -> list[str]:
        """Return the command that runs a program on a node's directory."""
        if self.root is None:
            return list(program)
        return ["unshare", "-m", "sh", "-c", _ENTER_TREE, "sh", str(self.root), str(directory), *program]

    def seen(self, directory: Path) -> Path:
        """Return the path by which the programs see a node's directory."""
        return directory if self.root is None else Path("/mnt")

    def environment(self, directory: Path, name: str, ports: Ports) -> dict[str, str]:
        """Return the whole environment of a node's programs."""
        home = self.seen(directory)
        return {
            "HOME": str(home),
            "PATH": _SYSTEM_PATH,
            "LANG": "C.UTF-8",
            "ERL_CRASH_DUMP_SECONDS": "0",  # none: a failure is told by the log, and at once
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(ports.epmd),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "none.config"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CTL_DIST_PORT_MAX": str(ports.last_tool),
            "RABBITMQ_CTL_DIST_PORT_MIN": str(ports.first_tool),
            "RABBITMQ_DIST_PORT": str(ports.distribution),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(ports.amqp),
            "RABBITMQ_PID_FILE": str(home / "node.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGUMENTS,
            "RUNNING_UNDER_SYSTEMD": "true",  # the start script then becomes the node, instead of minding it
        }
