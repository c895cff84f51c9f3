"""What a table found: figures of its sides, ratios against their targets, and what else is to be said."""

from dataclasses import asdict, dataclass, field

from .timing import ratio


@dataclass
class Ratio:
    """A target and how it was met; `at_most` or `at_least` it is."""

    what: str
    median: float
    least: float
    most: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_met(self):
        return (self.at_most is None or self.median <= self.at_most) and (
            self.at_least is None or self.median >= self.at_least
        )


@dataclass
class Row:
    """One side: its figures in the table's unit, and what it does not promise."""

    name: str
    figures: list
    lacks: str = ""


@dataclass
class Table:
    key: str
    title: str
    unit: str
    rows: list = field(default_factory=list)
    ratios: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def add(self, sides, lacks=()):
        lacks = dict(lacks)
        self.rows += [Row(side.name, side.figures, lacks.get(side.name, "")) for side in sides]

    def compare(self, what, one, other, at_most=None, at_least=None):
        """A ratio of two sides, round by round."""
        self.ratios.append(Ratio(what, *ratio(one, other), at_most, at_least))

    def target(self, what, value, at_most=None, at_least=None):
        """One figure against its target."""
        self.ratios.append(Ratio(what, value, value, value, at_most, at_least))

    def as_json(self):
        return asdict(self)
