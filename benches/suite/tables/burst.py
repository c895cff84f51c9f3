"""100,000 files of 1 KB: how many a second are saved, and how many a second become visible."""

from ..agents import Cluster
from ..files import compare, fresh_directory, make_files, remove
from ..results import Row, Table
from ..timing import say, warm_memory


def burst(options):
    files = options.scaled(100_000)
    table = Table("burst", "100,000 files of 1 KB", "files/s")
    saved, visible = [], []
    for round in range(options.rounds):
        home = fresh_directory(options.home / f"burst-{round}")
        source = make_files(home / "files", files, 1_000)
        with Cluster(options.binary, home / "cluster") as cluster:
            warm_memory()
            took = cluster.send(source)
            more = cluster.visible(files)
            saved.append(files / took)
            visible.append(files / (took + more))
            compare(source, cluster.consumers[0].inbox)
        remove(home)
        say(f"  {table.title}, {round + 1}: {saved[-1]:,.0f} saved/s, {visible[-1]:,.0f} visible/s")
    table.rows = [Row("consign, saved", saved), Row("consign, visible", visible)]
    table.target("files saved a second, the best burst", max(saved), at_least=30_000)
    table.target("files visible a second, the worst", min(visible), at_least=15_000)
    return table
