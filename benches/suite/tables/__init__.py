"""The tables by name, in the order in which the page has them. Each is called with the options of a run."""

from .audit import audit
from .burst import burst
from .chain import chain, one_disk
from .one_consumer import large, middling, small
from .receipts import receipts

TABLES = {
    "large": large,
    "middling": middling,
    "small": small,
    "burst": burst,
    "chain": chain,
    "one-disk": one_disk,
    "receipts": receipts,
    "audit": audit,
}
