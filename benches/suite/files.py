"""Files to send: made, compared with what arrived, and removed."""

import filecmp
import os
import subprocess
from pathlib import Path

from .processes import until

STEP_BYTES = 1 << 20


def fresh_directory(path):
    """A directory whose subdirectories ext4 spreads over the disk: creating files where thousands were
    just deleted takes it several times as long, which must not hit whoever comes second."""
    path.mkdir(parents=True)
    subprocess.run(["chattr", "+T", path], stderr=subprocess.DEVNULL, check=False)
    return path


def make_files(directory, count, size, contents=os.urandom):
    """`count` files of `size` bytes, each its own; `contents(n)` gives n bytes."""
    directory.mkdir(parents=True)
    for at in range(count):
        left = size
        with open(directory / f"{at:06}", "wb") as file:
            while left:
                step = min(left, STEP_BYTES)
                file.write(contents(step))
                left -= step
    os.sync()
    return directory


def count_files(directory):
    """Files below a directory; consign's own directory is no part of its inbox."""
    found = 0
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            found += 0 if entry.name == ".consign" else count_files(entry.path)
        else:
            found += 1
    return found


def compare(source, arrived, deadline_s=60):
    """Ends the run unless every file of `source` is below `arrived`, byte for byte."""
    for file in sorted(Path(source).rglob("*")):
        if file.is_file():
            there = Path(arrived) / file.relative_to(source)
            until(f"{there}", there.exists, deadline_s)
            if not filecmp.cmp(file, there, shallow=False):
                raise SystemExit(f"{there} is not what {file} is")


def remove(directory):
    """Removes what arrived, so that whoever comes next finds as much room."""
    subprocess.run(["rm", "-rf", directory], check=True)
    os.sync()
