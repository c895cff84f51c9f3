#!/usr/bin/env python3
"""Times consign with keys against consign without, in alternating pairs on one disk.

    cargo build --release --locked
    python3 benches/tls.py [--dir DIR] [--pairs 5] [--binary target/release/consign]

The workloads and the way of measuring are those of against_rsync.py: one file of 1 GiB, and 10,000
files of 10 KB, each to one consumer over loopback, until the last file is saved. Each pair has two
agents with bundles of one authority, and two without; who goes first alternates.
"""

import argparse
import statistics
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from against_rsync import Consign, Processes, make_files, warm_disk


def make_bundles(binary, home):
    """An authority, and a bundle for each of the two agents."""
    authority = home / "authority"
    keys = [binary, "keys"]
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*keys, "init", "--dir", authority], **quiet)
    bundles = {}
    for name in ("producer", "consumer"):
        bundles[name] = home / f"{name}.pem"
        issue = ["issue", name, "--roles", name, "--dir", authority, "--out", bundles[name]]
        subprocess.run([*keys, *issue], **quiet)
    return bundles


def run(title, source, home, bundles, options):
    times = {"TLS": [], "plaintext": []}
    resident = {}
    for pair in range(options.pairs):
        processes = Processes()
        try:
            base = home / f"{source.name}-{pair}"
            sides = {
                "TLS": Consign(options.binary, base / "tls", processes, bundles),
                "plaintext": Consign(options.binary, base / "plaintext", processes),
            }
            names = list(sides) if pair % 2 == 0 else list(reversed(sides))
            for name in names:
                times[name].append(sides[name].send(source))
                sides[name].check(source, keep=False)
            for name, mib in sides["TLS"].resident_mib().items():
                resident[name] = max(mib, resident.get(name, 0))
            shown = ", ".join(f"{name} {found[-1]:.2f} s" for name, found in times.items())
            print(f"  {title}: {shown}", file=sys.stderr)
        finally:
            processes.end()
    tls_s, plaintext_s = (statistics.median(times[name]) for name in ("TLS", "plaintext"))
    memory = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in sorted(resident.items()))
    print(
        f"{title}: TLS {tls_s:.2f} s, plaintext {plaintext_s:.2f} s, "
        f"ratio {tls_s / plaintext_s:.2f}; resident with TLS: {memory}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, help="where to write; a temporary one by default")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--binary", type=Path, default=Path("target/release/consign"))
    parser.add_argument("--only", choices=["large", "small"])
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    home = Path(tempfile.mkdtemp(prefix="consign-bench-", dir=options.dir))
    try:
        bundles = make_bundles(options.binary, home)
        warm_disk(home)
        if options.only != "small":
            source = make_files(home / "large", 1, 1 << 30)
            run("1 x 1 GiB", source, home, bundles, options)
        if options.only != "large":
            source = make_files(home / "small", 10_000, 10_000)
            run("10,000 x 10 KB", source, home, bundles, options)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
