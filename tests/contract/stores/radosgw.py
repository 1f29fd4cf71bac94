"""A real Ceph of one monitor, one disk in memory and one RADOS gateway on 127.0.0.1, for as long as a test takes.

Debian: `apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common`.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from benchmarks.servers import free_port

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "radosgw-access", "radosgw-secret"
START_SECONDS = 120
"""A cluster makes its pools when the gateway first starts."""


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def running_radosgw(folder: Path) -> Generator[str]:
    """Yield the gateway's endpoint URL.

    Args:
        folder: An empty folder with a short path; sockets lie in it.
    """
    monitor, gateway = free_port(), free_port()
    fsid, config = str(uuid4()), folder / "ceph.conf"
    config.write_text(_config(folder, fsid, monitor))
    for name in ("mon", "osd", "run"):
        (folder / name).mkdir()
    with ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / f"{command[0]}.log").open("ab"))
            process = subprocess.Popen([*command, "-c", str(config), "-f"], stdout=log, stderr=log)
            stack.callback(process.wait, 20)
            stack.callback(process.kill)
            return process

        _run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{monitor}]", str(folder / "map"))
        _run("ceph-mon", "-c", str(config), "-i", "a", "--mkfs", "--monmap", str(folder / "map"))
        start("ceph-mon", "-i", "a")
        disk = str(uuid4())
        _run("ceph", "-c", str(config), "--connect-timeout", "60", "osd", "new", disk)
        _run("ceph-osd", "-c", str(config), "-i", "0", "--mkfs", "--osd-uuid", disk)
        _until_it_is_up(config, lambda: start("ceph-osd", "-i", "0"))
        keys = ("--access-key", ACCESS_KEY_ID, "--secret", SECRET_ACCESS_KEY)
        _run("radosgw-admin", "-c", str(config), "user", "create", "--uid=t", "--display-name=t", *keys)
        start("radosgw", "-n", "client.gateway", "--rgw-frontends", f"beast endpoint=127.0.0.1:{gateway}")
        _until_it_listens(gateway)
        yield f"http://127.0.0.1:{gateway}"


def _config(folder: Path, fsid: str, port: int) -> str:
    options = {
        "fsid": fsid,
        "mon_host": f"[v1:127.0.0.1:{port}]",
        "public_addr": "127.0.0.1",
        "auth_cluster_required": "none",
        "auth_service_required": "none",
        "auth_client_required": "none",
        "mon_data": folder / "mon",
        "osd_data": folder / "osd",
        "run_dir": folder / "run",
        "admin_socket": folder / "run" / "$name.asok",
        "log_file": folder / "run" / "$name.log",
        "osd_objectstore": "memstore",
        "memstore_device_bytes": 512 * 1024 * 1024,
        "osd_crush_chooseleaf_type": 0,
        "osd_pool_default_size": 1,
        "osd_pool_default_min_size": 1,
        "osd_pool_default_pg_num": 4,
        "osd_pool_default_pg_autoscale_mode": "off",
        "mon_allow_pool_size_one": "true",
        "osd_class_load_list": "*",
        "osd_class_default_list": "*",
    }
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def _until_it_is_up(config: Path, start: Callable[[], subprocess.Popen[bytes]]) -> None:
    """Wait for the disk, without which every other command waits for ever."""
    disk, deadline = start(), time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        # One that asks the monitor before it was told the cluster's id is refused ("wrong fsid"), and ends.
        if disk.poll() is not None:
            disk = start()
        told = _run("ceph", "-c", str(config), "--connect-timeout", "60", "osd", "stat", "--format", "json")
        if json.loads(told)["num_up_osds"]:
            return
        time.sleep(0.2)
    raise AssertionError(f"the disk is not up: {(config.parent / 'ceph-osd.log').read_text()[-2000:]}")


def _until_it_listens(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the gateway does not listen")
