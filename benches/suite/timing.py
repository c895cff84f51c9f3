"""Fair times: the sides in turn, under the same conditions, and each ratio within its own round."""

import mmap
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

WARM_DISK_MIB = 6 << 10
RUN_DEADLINE_S = 1_800


def say(text):
    print(text, file=sys.stderr, flush=True)


def warm_memory(at_most=8 << 30):
    """Touches memory and gives it back: on a virtual machine whose host has taken unused memory away,
    whoever touches it first pays for its return, several times over."""
    size = min(at_most, os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE // 2)
    with mmap.mmap(-1, size) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


def warm_disk(home, mib=WARM_DISK_MIB):
    """Writes a large file and deletes it: where a virtual disk grows on demand, blocks that were never
    written cost several times more than others, and must not cost only one side."""
    path = home / "warm"
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    path.unlink()


def timed(*commands, **how):
    """Seconds that commands take, one after the other."""
    began = time.monotonic()
    for command in commands:
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            timeout=RUN_DEADLINE_S, **how,
        )
    return time.monotonic() - began


@dataclass
class Side:
    """One of those that are compared: `run(round)` gives its seconds, or whatever is counted."""

    name: str
    run: object
    figures: list = field(default_factory=list)

    @property
    def median(self):
        return statistics.median(self.figures)


def alternate(title, sides, rounds, warm=True):
    """Runs every side once a round, each round beginning with another one."""
    for at in range(rounds):
        first = at % len(sides)
        for side in [*sides[first:], *sides[:first]]:
            if warm:
                warm_memory()
            os.sync()
            side.figures.append(side.run(at))
        shown = ", ".join(f"{side.name} {side.figures[-1]:.3g}" for side in sides)
        say(f"  {title}, {at + 1} of {rounds}: {shown}")
    return {side.name: side for side in sides}


def ratio(one, other):
    """Of two sides, round by round: the median, the least and the largest."""
    each = [a / b for a, b in zip(one.figures, other.figures)]
    return statistics.median(each), min(each), max(each)
