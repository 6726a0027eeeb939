"""A group of processes that may have so much memory (cgroup, version 1 or 2). Needs root."""

import os
import pathlib
import re
import sys
import time

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
ROOT_V1, ROOT_V2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")


def size(text):
    """Bytes of a text such as `1GiB`; for argparse."""
    found = re.fullmatch(r"(\d+)(KiB|MiB|GiB)", text)
    if found is None:
        raise ValueError(text)
    return int(found[1]) * UNITS[found[2]]


class Group:
    """Made empty; a command that begins with `before` runs in it, with all that it starts."""

    def __init__(self, limit):
        self.is_v1 = (ROOT_V1 / "memory.limit_in_bytes").exists()
        root = ROOT_V1 if self.is_v1 else ROOT_V2
        self.folder = root / f"busbar-rig-{os.getpid()}"
        try:
            if not self.is_v1:
                (root / "cgroup.subtree_control").write_text("+memory")
            self.folder.mkdir()
            (self.folder / ("memory.limit_in_bytes" if self.is_v1 else "memory.max")).write_text(str(limit))
        except OSError as error:
            print(f"skipped: this machine bounds no memory: {error}", flush=True)
            sys.exit(0)
        self.before = ("sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$0" "$@"')

    def killed(self):
        """How many processes the kernel has killed for want of memory."""
        lines = (self.folder / ("memory.oom_control" if self.is_v1 else "memory.events")).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def anonymous(self):
        """Bytes that are no cache of files."""
        name = "total_rss" if self.is_v1 else "anon"
        lines = (self.folder / "memory.stat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def remove(self):
        # A process that has just ended is still in it for a moment.
        for _ in range(50):
            try:
                self.folder.rmdir()
                return
            except OSError:
                time.sleep(0.1)
