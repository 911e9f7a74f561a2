"""Started by Ray, by its path, in place of an agent of a node; see :mod:`.lean`.

Ray waits at its start for two agents. Each imports Ray: half a second of processor time and 90 MB for servers
that a run never asks. The agent of the dashboard says here what Ray's own says where Ray is installed without
its dashboard: that it serves nobody. The agent of runtime environments holds its port, and becomes Ray's own
as soon as somebody asks.

Arguments: the agent's program and its arguments, as Ray has them.
"""

import os
import select
import socket
import sys
from typing import NoReturn

LOOK_S = 1.0  # so often it looks whether its node still lives
NOBODY = -1  # Ray's port of what is not there
OF_DASHBOARD = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
OF_ENVIRONMENTS = "runtime_env_agent_port"
ENVIRONMENTS = "runtime-env-agent-port"  # an argument of this one only


def main(arguments: list[str]) -> NoReturn:
    given = dict(
        one.removeprefix("--").split("=", 1) for one in arguments if one.startswith("--") and "=" in one
    )

    def tell(name: str, port: int) -> None:
        """As Ray's ``persist_port`` does: a file that is there is whole."""
        path = os.path.join(given["session-dir"], f"{name}_{given['node-id']}")
        with open(f"{path}.new", "w") as file:
            file.write(str(port))
        os.replace(f"{path}.new", path)

    if ENVIRONMENTS not in given:
        for name in OF_DASHBOARD:
            tell(name, NOBODY)
        wait(None)
    family, kind, protocol, _, address = socket.getaddrinfo(
        given["node-ip-address"], int(given[ENVIRONMENTS]), type=socket.SOCK_STREAM
    )[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
        port = listener.getsockname()[1]
        tell(OF_ENVIRONMENTS, port)
        wait(listener)
    # Who asked is turned away by this, and asks again until he is answered. Of two ports the last counts.
    os.execv(sys.executable, [sys.executable, "-u", *arguments, f"--{ENVIRONMENTS}={port}"])


def wait(listener: socket.socket | None) -> None:
    """Until somebody connects. Ends this process once its node has gone."""
    node = int(os.environ["RAY_RAYLET_PID"])
    while os.getppid() == node:
        if select.select([listener] if listener else [], [], [], LOOK_S)[0]:
            return
    sys.exit()


if __name__ == "__main__":
    main(sys.argv[1:])
