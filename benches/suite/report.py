"""Writes what was found: one JSON file and one chart for each table, and a page that shows all of them."""

import json
import statistics
import time

HEAD = """# Benchmarks

Every figure is of *durable* delivery: the time ends when the last byte is synced at every receiver, unless the
line says otherwise. All of it was measured by

```sh
cargo build --release --locked
./bench            # the whole page, an hour or two; `./bench --only small` one table, `./bench --list` their names
```

which runs the sides in turn, each round beginning with another one, and compares every byte that arrived. A ratio is
the median of those of each round, with the least and the largest; the disk of a virtual machine varies by a factor
of three from minute to minute, so only ratios mean much. Peers do not promise what consign does: what each lacks
stands beside it.
"""


def number(value):
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def save(found, machine, folder):
    """Keeps a table's figures and draws its chart."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {**found.as_json(), "machine": machine, "day": time.strftime("%Y-%m-%d", time.gmtime())}
    (folder / f"{found.key}.json").write_text(json.dumps(kept, indent=1) + "\n")
    chart(kept, folder / f"{found.key}.svg")


def chart(table, path):
    """Medians as bars, from the least figure to the largest as a line."""
    import matplotlib

    matplotlib.use("svg")
    # The same figures give the same file.
    matplotlib.rcParams["svg.hashsalt"] = table["key"]
    from matplotlib import pyplot

    rows = table["rows"]
    medians = [statistics.median(row["figures"]) for row in rows]
    spread = [
        [median - min(row["figures"]) for row, median in zip(rows, medians)],
        [max(row["figures"]) - median for row, median in zip(rows, medians)],
    ]
    is_ours = [row["name"].startswith("consign") for row in rows]
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.45 * len(rows)))
    colours = ["#2a6f97" if ours else "#b8c4cc" for ours in is_ours]
    bars = axes.barh([row["name"] for row in rows], medians, xerr=spread, color=colours, ecolor="#555555")
    axes.bar_label(bars, [f" {number(median)}" for median in medians], label_type="edge", padding=6)
    axes.invert_yaxis()
    axes.set_xlabel(table["unit"])
    axes.set_title(table["title"], loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def target_of(ratio):
    if ratio["at_most"] is not None:
        return f"≤ {number(ratio['at_most'])}", ratio["median"] <= ratio["at_most"]
    if ratio["at_least"] is not None:
        return f"≥ {number(ratio['at_least'])}", ratio["median"] >= ratio["at_least"]
    return "", True


def section(table, folder):
    lines = [f"## {table['title']}", "", f"![{table['title']}]({folder}/{table['key']}.svg)", ""]
    lines += [f"| | median, {table['unit']} | least to most | what it does not promise |", "|---|---|---|---|"]
    for row in table["rows"]:
        figures = row["figures"]
        span = f"{number(min(figures))} to {number(max(figures))}"
        lines.append(f"| {row['name']} | {number(statistics.median(figures))} | {span} | {row['lacks']} |")
    if table["ratios"]:
        lines += ["", "| | measured | target | |", "|---|---|---|---|"]
    for ratio in table["ratios"]:
        text = number(ratio["median"])
        if ratio["least"] != ratio["most"]:
            text += f" ({number(ratio['least'])} to {number(ratio['most'])})"
        target, is_met = target_of(ratio)
        lines.append(f"| {ratio['what']} | {text} | {target} | {'' if is_met else '**missed**'} |")
    lines += ["", *(f"* {note}" for note in table["notes"])]
    facts = "; ".join(f"{what} {value}" for what, value in table["machine"])
    lines += ["", f"{table['day']}, {len(table['rows'][0]['figures'])} rounds: {facts}.", ""]
    return lines


def write_page(page, folder, order):
    """The page, from everything that is kept."""
    lines = HEAD.splitlines() + [""]
    for key in order:
        path = folder / f"{key}.json"
        if path.exists():
            lines += section(json.loads(path.read_text()), folder.name)
    page.write_text("\n".join(lines).rstrip() + "\n")
