"""Who can reach a run: nobody but this machine, unless a cluster is asked for."""

from __future__ import annotations

import os
import signal
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from test_engine import descendants, longer, started, wait_for_records


def listening(pids: set[int]) -> dict[str, int]:
    """Addresses on which these processes listen, with one process of each."""
    owner = {}
    for pid in pids:
        try:
            for file in Path(f"/proc/{pid}/fd").iterdir():
                owner[os.readlink(file)] = pid
        except OSError:
            continue  # it has ended
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            pid = owner.get(f"socket:[{fields[9]}]")
            if pid is not None and fields[3] == "0A":
                found[address(fields[1].partition(":")[0])] = pid
    return found


def address(text: str) -> str:
    """An address as the kernel prints it, in words of the machine's byte order, as people write it."""
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    if len(words) == 1:
        return ".".join(map(str, words[0]))
    v6 = IPv6Address(b"".join(words))
    return str(v6.ipv4_mapped or v6)


def test_addresses_are_read_right() -> None:
    assert address("0100007F") == "127.0.0.1"
    assert address("0000000000000000FFFF00000100007F") == "127.0.0.1"
    assert address("00000000000000000000000000000000") == "::"


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs the /proc of Linux")
def test_our_own_ray_listens_on_this_machine_only(tiny: dict[str, Any], tmp_path: Path) -> None:
    process = started(longer(tiny), tmp_path)
    try:
        wait_for_records(tmp_path, "models", 1)
        found = listening({process.pid, *descendants(process.pid)})
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=200)
    assert found
    assert set(found) <= {"127.0.0.1", "::1"}
