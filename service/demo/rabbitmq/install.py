"""An installed RabbitMQ server: where it is, and how its programs are run for a private node.

It is the machine's own, or one in a system tree (another version, unpacked in a directory). A tree is entered by chroot
within a private mount namespace, so that mounts inside it are not visible outside. There, a node's directory is /mnt.

A node gets no environment except the one made here, so that the settings of a broker of this machine do not reach it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from service.demo.rabbitmq.ports import Ports

PROGRAMS = Path("/usr/lib/rabbitmq/bin")  # those in /usr/sbin require the user rabbitmq
EPMD = Path("/usr/bin/epmd")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENTER_TREE = """
tree=$1 directory=$2; shift 2
mount -t proc proc "$tree/proc" && mount --bind "$directory" "$tree/mnt" && exec chroot "$tree" "$@"
"""
_ERLANG_ARGUMENTS = (
    # While the node starts, schedulers wake each other very often. Threads that spin for a moment before they sleep
    # save most of these system calls, which at least halves the time in a virtual machine. An idle node is not
    # affected.
    "+S 2:2 +SDio 2 +sbwt short +sbwtdcpu none +sbwtdio short -kernel inet_dist_use_interface {127,0,0,1}"
)


_CONFIGURATION = """\
loopback_users = none
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 512MiB
"""


class NodeError(Exception):
    """A private RabbitMQ node failed."""


class ServerMissingError(NodeError):
    """No RabbitMQ server is installed in this system or tree."""


@dataclass(frozen=True, slots=True)
class Server:
    """RabbitMQ's programs: the machine's own, or those of the system tree at `root`."""

    root: Path | None = None

    def require(self) -> None:
        """Raise `NodeError` unless the programs exist and this user may run them."""
        for program in (PROGRAMS / "rabbitmq-server", EPMD):
            # A link in a tree is relative to the tree, so it is not followed.
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
        return ["unshare", "-m", "sh", "-c", _ENTER_TREE, "sh", str(self.root.absolute()), str(directory), *program]

    def seen(self, directory: Path) -> Path:
        """Return the path of a node's directory as its programs see it."""
        return directory if self.root is None else Path("/mnt")

    def environment(self, directory: Path, name: str, ports: Ports) -> dict[str, str]:
        """Return the whole environment of a node's programs."""
        home = self.seen(directory)
        return {
            "HOME": str(home),
            "PATH": _SYSTEM_PATH,
            "LANG": "C.UTF-8",
            "ERL_CRASH_DUMP_SECONDS": "0",  # no crash dump, which takes time; the log shows the failure
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
            "RUNNING_UNDER_SYSTEMD": "true",  # the start script then executes the node instead of waiting for it
        }


def configuration(ports: Ports, *, management: bool) -> str:
    """Return the text of `rabbitmq.conf`."""
    plugins = (("management", ports.management), ("prometheus", ports.prometheus)) if management else ()
    return _CONFIGURATION + "".join(
        f"{plugin}.tcp.ip = 127.0.0.1\n{plugin}.tcp.port = {port}\n" for plugin, port in plugins
    )
