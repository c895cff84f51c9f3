"""The tables by name, in the order in which the page has them. Each is called with the options of a run."""

from .audit import audit
from .burst import burst
from .chain import chain, one_disk
from .growth import consumers, producers, queues
from .latency import latency
from .mixed import mixed, standstill
from .one_consumer import large, middling, small
from .receipts import receipts
from .restart import restart

TABLES = {
    "large": large,
    "middling": middling,
    "small": small,
    "burst": burst,
    "chain": chain,
    "one-disk": one_disk,
    "latency": latency,
    "mixed": mixed,
    "standstill": standstill,
    "restart": restart,
    "producers": producers,
    "consumers": consumers,
    "queues": queues,
    "receipts": receipts,
    "audit": audit,
}
