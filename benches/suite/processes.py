"""What was started here, and is ended here, by process id."""

import os
import socket
import subprocess
import time
from pathlib import Path

START_DEADLINE_S = 30
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def free_ports(count):
    """Ports that the system has free now, all of them different."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(what, condition, deadline_s=START_DEADLINE_S, every_s=0.005):
    """Seconds until a condition held."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + deadline_s:
            raise SystemExit(f"{what}: not within {deadline_s} s; hint: run it with --keep, and look at the logs")
        time.sleep(every_s)
    return time.monotonic() - began


class Processes:
    def __init__(self):
        self.started = []

    def start(self, command, log, **how):
        with open(log, "ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, **how)
        self.started.append(process)
        return process

    def end(self):
        for process in self.started:
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            try:
                process.wait(timeout=START_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.started.clear()


def processor_s(pid):
    """Seconds that a running process has computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def memory_mib(pid, field="VmRSS"):
    """Resident memory of a process; `VmHWM` is the most that it had. 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), 0.0)
