#!/usr/bin/env python3
"""What a long queue and many idle strangers cost, with real agents, against stated targets.

    cargo build --release --locked
    python3 benches/scale.py [queue|strangers] [--files 1000000] [--pairs 7] [--dir DIR] [--binary …/consign]

`queue`: a producer whose only consumer is down takes in files, half by `consign send`, half out of a
watched directory. Its memory is followed while it does; it is killed with SIGKILL and started again,
with its catalogue and without; commands are timed; `consign doctor` looks at its data directory. Then
the consumer starts, the queue drains, and every file is compared.

`strangers`: files go from a producer to a consumer, alone and with thousands of connections that say
nothing or a byte a second, in alternating pairs.

Progress on stderr, a table on stdout. Exits with 1 when a target is missed. A million files need
about 20 GB below DIR for a while.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from scaling.agents import Table
from scaling.queue import DIRECTORY_FILES, Queue
from scaling.strangers import Strangers
from suite.timing import say

DISK_BYTES_PER_FILE = 20_000


def queue(options, home, table):
    free = os.statvfs(home)
    free = free.f_bavail * free.f_frsize
    if free < options.files * DISK_BYTES_PER_FILE:
        sys.exit(f"{home} has {free >> 30} GiB free; hint: use --dir, or fewer --files")
    run(Queue(options.binary, home, options.files, table))


def strangers(options, home, table):
    run(Strangers(options.binary, home, options.pairs, table))


def run(part):
    try:
        part.run()
    finally:
        for agent in part.agents():
            agent.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["queue", "strangers"], nargs="?")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=7, help="of transfers, for strangers")
    parser.add_argument("--dir", type=Path, help="where to write; a temporary one by default")
    parser.add_argument("--binary", type=Path, default=Path("target/release/consign"))
    options = parser.parse_args()
    if options.files % (2 * DIRECTORY_FILES):
        parser.error(f"--files must be a multiple of {2 * DIRECTORY_FILES}: two halves of full directories")
    options.binary = options.binary.resolve()
    table, parts = Table(), {"queue": queue, "strangers": strangers}
    for name in [options.part] if options.part else parts:
        say(f"== {name}")
        home = Path(tempfile.mkdtemp(prefix=f"consign-scale-{name}-", dir=options.dir))
        try:
            parts[name](options, home, table)
        finally:
            table.print()
        if table.missed:
            say(f"kept for a look: {home}; hint: the agents' logs are there")
        else:
            shutil.rmtree(home)
    for missed in table.missed:
        print(f"missed: {missed}", file=sys.stderr)
    sys.exit(1 if table.missed else 0)


if __name__ == "__main__":
    main()
