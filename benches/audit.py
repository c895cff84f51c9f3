#!/usr/bin/env python3
"""Times `consign audit`, and what it costs transfers.

    cargo build --release --locked
    python3 benches/audit.py [--dir DIR] [--files 100000] [--pairs 5] [--binary target/release/consign]

One producer and one consumer over loopback. First FILES files of 100 bytes are delivered and audited,
with and without --read; printed are the times and by how much the resident memory of each agent grew.
Then sends of 2,000 files of 10 KB alternate with others while audits with --read, of what was sent just
now, run without a pause; printed are the medians and their ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from against_rsync import Consign, Processes, timed

ROOT = Path(__file__).resolve().parent.parent
PAIR_FILES = 2_000


def make(directory, files, size):
    directory.mkdir(parents=True)
    for at in range(files):
        (directory / f"{directory.name}-{at}").write_bytes(os.urandom(size))
    return directory


def audit(consign, *options):
    """Seconds, and the summary."""
    agent = f"unix:{consign.home}/producer/agent.sock"
    command = [consign.binary, "audit", "--json", "--agent", agent, *options]
    began = time.monotonic()
    said = subprocess.run(command, stdout=subprocess.PIPE)
    took = time.monotonic() - began
    summary = json.loads(said.stdout.splitlines()[-1])
    if said.returncode != 0 or not summary["sound"]:
        sys.exit(f"the audit found something wrong: {summary}")
    return took, summary


def all_published(consign, files):
    agent = f"unix:{consign.home}/consumer/agent.sock"
    command = [consign.binary, "status", "--json", "--agent", agent]
    while True:
        status = json.loads(subprocess.run(command, stdout=subprocess.PIPE).stdout)
        if status["consumes"][0]["published_total"] >= files:
            return
        time.sleep(0.1)


def alone(consign, home, files):
    consign.send(make(home / "many", files, 100))
    all_published(consign, files)
    for options in [[], ["--read"]]:
        before = consign.resident_mib()
        took, summary = audit(consign, *options)
        after = consign.resident_mib()
        grown = ", ".join(f"{name} +{after[name] - before[name]:.0f}" for name in after)
        text = f"audit {' '.join(options)}".strip()
        print(f"{text} of {summary['files']:,} files: {took:.2f} s; MiB: {grown}", flush=True)
    peaks = ", ".join(f"{name} {mib:.0f}" for name, mib in consign.resident_mib().items())
    print(f"peaks in MiB: {peaks}", flush=True)


def beside(consign, home, pairs):
    times, audits = {"without": [], "with": []}, 0
    for pair in range(pairs):
        for how in times:
            source = make(home / f"{how}{pair}", PAIR_FILES, 10_000)
            over = threading.Event()
            counted = []

            def audits_until_over():
                while not over.is_set():
                    counted.append(audit(consign, "--read", "--since", "10s"))

            thread = threading.Thread(target=audits_until_over)
            if how == "with":
                thread.start()
                time.sleep(0.2)
            times[how].append(consign.send(source))
            over.set()
            if how == "with":
                thread.join()
            audits += len(counted)
    medians = {how: statistics.median(of) for how, of in times.items()}
    ratio = medians["with"] / medians["without"]
    print(
        f"{PAIR_FILES} files of 10 KB: {medians['without']:.2f} s alone, {medians['with']:.2f} s beside "
        f"audits with --read ({audits} of them), ratio {ratio:.2f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/consign")
    args = parser.parse_args()
    processes = Processes()
    with tempfile.TemporaryDirectory(dir=args.dir, prefix="consign-audit-") as home:
        home = Path(home)
        try:
            consign = Consign(args.binary.resolve(), home, processes)
            alone(consign, home, args.files)
            beside(consign, home, args.pairs)
        finally:
            processes.end()


if __name__ == "__main__":
    main()
