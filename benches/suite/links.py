"""Machines that are network namespaces, each on a link of its own to one switch; as root only."""

import os
import subprocess

NETWORK = "10.203.7"


def needs_root(table):
    if os.geteuid() != 0:
        raise SystemExit(f"{table}: network namespaces need root; hint: run ./bench as root, or leave this table out")


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


class Links:
    """`rate` is what each link carries each way, such as "200mbit"; `None` for what there is."""

    def __init__(self, names, rate=None):
        self.names, self.rate = names, rate
        self.tag = f"cb{os.getpid()}"
        self.switch = f"{self.tag}-switch"
        self.made = []

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def make(self):
        self.namespace(self.switch)
        inside = ["ip", "-n", self.switch]
        run(*inside, "link", "add", "switch", "type", "bridge")
        run(*inside, "link", "set", "switch", "up")
        for at, name in enumerate(self.names):
            machine, port = self.machine(name), f"port{at}"
            self.namespace(machine)
            run("ip", "-n", machine, "link", "set", "lo", "up")
            run("ip", "-n", machine, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self.switch)
            run("ip", "-n", machine, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            run("ip", "-n", machine, "link", "set", "eth0", "up")
            run(*inside, "link", "set", port, "master", "switch", "up")
            if self.rate:
                for namespace, device in [(machine, "eth0"), (self.switch, port)]:
                    run(
                        "tc", "-n", namespace, "qdisc", "add", "dev", device, "root",
                        "tbf", "rate", self.rate, "burst", "64kb", "latency", "50ms",
                    )

    def namespace(self, name):
        run("ip", "netns", "add", name)
        self.made.append(name)

    def __exit__(self, *_):
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], check=False)
        self.made.clear()

    def machine(self, name):
        return f"{self.tag}-{name}"

    def address(self, name):
        return f"{NETWORK}.{self.names.index(name) + 1}"

    def inside(self, name):
        """What a command begins with to run on that machine."""
        return ["ip", "netns", "exec", self.machine(name)]

    def hosts(self):
        """As a cluster wants them."""
        return {name: (self.address(name), self.inside(name)) for name in self.names}

    def received_bytes(self, name):
        """What has come to a machine over its link so far."""
        counter = "/sys/class/net/eth0/statistics/rx_bytes"
        command = [*self.inside(name), "cat", counter]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
