"""What the figures were measured on."""

import os
import platform
import subprocess
from pathlib import Path


def first_line(*command):
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    lines = (ran.stdout or ran.stderr).strip().splitlines()
    return lines[0].strip() if lines else None


def of(home):
    """The machine, and the filesystem that `home` is on, as (what, value)."""
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    filesystem = first_line("stat", "--file-system", "--format=%T", str(home))
    options = first_line("findmnt", "--noheadings", "--output", "FSTYPE,OPTIONS", "--target", str(home))
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return [
        ("processors", f"{os.cpu_count()} × {model}"),
        ("memory", f"{memory_gib:.0f} GiB"),
        ("kernel", platform.release()),
        ("filesystem", options or filesystem),
        ("TCP congestion control", congestion),
    ]


def versions(binary):
    """Of consign and those that are there to be compared with, as (what, value)."""
    commit = first_line("git", "rev-parse", "--short", "HEAD")
    found = [
        ("consign", f"{first_line(str(binary), '--version')}, commit {commit}"),
        ("rsync", first_line("rsync", "--version")),
        ("ssh", first_line("ssh", "-V")),
        ("NATS", first_line("nats-server", "--version")),
        ("cp", first_line("cp", "--version")),
    ]
    return [(what, value) for what, value in found if value]
