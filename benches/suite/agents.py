"""A consign cluster of real agents, with its keys where it has some, on loopback or between machines that
are network namespaces."""

import http.client
import json
import os
import socket
import subprocess
import time

from .files import count_files
from .processes import Processes, free_ports, memory_mib, processor_s, until

READY_DEADLINE_S = 60


class UnixConnection(http.client.HTTPConnection):
    """HTTP over an agent's socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=600)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Agent:
    """One agent; `inside` is what a command begins with to run where the agent does."""

    def __init__(self, cluster, name, config, inside=()):
        self.cluster, self.name, self.inside = cluster, name, [*inside]
        self.home = cluster.home / name
        self.home.mkdir(parents=True)
        self.inbox = self.home / "inbox"
        self.config = self.home / "agent.toml"
        self.config.write_text(config)
        self.socket = self.home / "data" / "agent.sock"
        self.process = None

    def start(self):
        """Starts it; seconds until it is ready."""
        command = [*self.inside, self.cluster.binary, "agent", "--config", self.config]
        self.process = self.cluster.processes.start(command, self.home / "log")
        return until(f"{self.name} ready", self.is_ready, READY_DEADLINE_S)

    def is_ready(self):
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} ended by itself: {self.home}/log says why")
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def ask(self, method, path, body=None):
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path):
        return json.loads(self.ask("GET", f"/api/v1{path}")[1])

    def command(self, *words):
        """A command that talks to this agent."""
        return [*self.inside, self.cluster.binary, *words, "--agent", f"unix:{self.socket}"]

    def kill(self):
        self.process.kill()
        self.process.wait()


class Listener:
    """Hears of transfers that end, on a connection that stays open."""

    def __init__(self, agent):
        self.connection = UnixConnection(agent.socket)
        self.connection.request("GET", "/api/v1/events")
        self.answer = self.connection.getresponse()

    def ended(self):
        """The ids of those that have, batch by batch."""
        while line := self.answer.readline():
            if line.startswith(b"event: missed"):
                raise SystemExit("the listener was too slow; hint: this machine is too busy to measure on")
            if line.startswith(b"data: "):
                yield json.loads(line[6:]).get("ids", [])
        raise SystemExit("the agent has ended; hint: its log says why")

    def wait_for(self, transfer):
        """Returns when that one has ended."""
        next(ids for ids in self.ended() if transfer in ids)

    def rate(self, count):
        """Waits until so many have; how many a second that were, after the first to be heard of."""
        batches = self.ended()
        seen, began = len(next(batches)), time.monotonic()
        first = seen
        while seen < count:
            seen += len(next(batches))
        return (seen - first) / max(time.monotonic() - began, 1e-6)


class Cluster:
    """`producers` and `consumers` of one feed, `files`, each file to `replicas` of them. `hosts` names an
    address, and what a command begins with to run there, for each agent; all are on loopback without."""

    def __init__(self, binary, home, producers=1, consumers=1, replicas=1, keys=None, hosts=None, produce=""):
        self.binary, self.home, self.processes = binary, home, Processes()
        senders = [f"producer-{at + 1}" for at in range(producers)]
        takers = [f"consumer-{at + 1}" for at in range(consumers)]
        ports = dict(zip([*senders, *takers], free_ports(producers + consumers)))
        host = {name: (hosts or {}).get(name, ("127.0.0.1", [])) for name in ports}
        addr = {name: f"{host[name][0]}:{ports[name]}" for name in ports}
        listed = ", ".join(
            f'{{ name = "{name}", addr = "{addr[name]}", feeds = ["files"] }}' for name in takers
        )
        home.mkdir(parents=True)
        self.agents = {}
        for name in ports:
            data = home / name
            tls = "plaintext = true" if keys is None else f'bundle = "{keys.bundle(name)}"'
            role = (
                f'[[produce]]\nfeed = "files"\nafter = "keep"\nreplicas = {replicas}\n{produce}\n'
                if name in senders
                else f'[[consume]]\nfeed = "files"\ninbox = "{data}/inbox"\nmin_free = "0B"\n'
            )
            config = (
                f'[node]\nname = "{name}"\ndata_dir = "{data}/data"\n'
                f'[listen]\npeer = "{addr[name]}"\n[tls]\n{tls}\n'
                f'[membership]\nkind = "static"\nreplace_after = "never"\nnodes = [{listed}]\n{role}'
            )
            agent = Agent(self, name, config, host[name][1])
            if name in takers:
                agent.inbox.mkdir()
            self.agents[name] = agent
        self.producers = [self.agents[name] for name in senders]
        self.consumers = [self.agents[name] for name in takers]

    def __enter__(self):
        try:
            for agent in [*self.consumers, *self.producers]:
                agent.start()
            self.wait_until_connected()
        except BaseException:
            self.processes.end()
            raise
        return self

    def __exit__(self, *_):
        self.processes.end()

    def wait_until_connected(self):
        names = {agent.name for agent in self.consumers}

        def is_connected(producer):
            nodes = producer.get("/nodes")
            nodes = nodes if isinstance(nodes, list) else nodes["nodes"]
            return all(node["connected"] for node in nodes if node["name"] in names)

        for producer in self.producers:
            until("all are connected", lambda: is_connected(producer), READY_DEADLINE_S)

    def send(self, source, producer=0, name=None):
        """Seconds of `consign send --wait`: until the last file is saved on all of its consumers."""
        words = ["send", source, "--feed", "files", "--wait"]
        began = time.monotonic()
        subprocess.run(
            self.producers[producer].command(*words, *(["--name", name] if name else [])),
            check=True, stdout=subprocess.DEVNULL,
        )
        return time.monotonic() - began

    def visible(self, files):
        """Seconds from now until so many files are in the inboxes, all together."""
        return until(
            f"{files} files are visible",
            lambda: sum(count_files(agent.inbox) for agent in self.consumers) >= files,
            deadline_s=120,
        )

    def processor_s(self):
        """Seconds that all agents have computed so far: producers, consumers."""
        return tuple(
            sum(processor_s(agent.process.pid) for agent in agents)
            for agents in (self.producers, self.consumers)
        )

    def memory_mib(self):
        """The most that any producer, and any consumer, had resident."""
        return tuple(
            max(memory_mib(agent.process.pid, "VmHWM") for agent in agents)
            for agents in (self.producers, self.consumers)
        )


class Keys:
    """An authority, and a bundle for each node that asks for one."""

    def __init__(self, binary, home):
        self.binary, self.home = binary, home
        home.mkdir(parents=True)
        self.run("init")

    def run(self, *words):
        command = [self.binary, "keys", *words, "--dir", self.home / "authority"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def bundle(self, name):
        path = self.home / f"{name}.pem"
        if not os.path.exists(path):
            self.run("issue", name, "--roles", name.split("-")[0], "--out", path)
        return path
