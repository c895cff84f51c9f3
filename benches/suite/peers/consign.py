"""consign itself, as one of those that are compared: a cluster of one producer and one consumer that stays
up for all rounds, as it would."""

from ..agents import Cluster, Keys


class Consign:
    lacks = ""

    def __init__(self, binary, home, with_keys=False):
        self.name = "consign, TLS both ways" if with_keys else "consign"
        keys = Keys(binary, home / "keys") if with_keys else None
        self.cluster = Cluster(binary, home / "cluster", keys=keys)
        self.inbox = self.cluster.consumers[0].inbox

    def __enter__(self):
        self.cluster.__enter__()
        return self

    def __exit__(self, *_):
        self.cluster.__exit__()

    def send(self, source, into):
        """It has one inbox, so a name below it stands for the directory of a round."""
        return self.cluster.send(source)
