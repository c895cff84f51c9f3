"""NATS JetStream: small files as messages, written to files by a consumer that syncs a batch and then
acknowledges it. Both ends are Python, as much as possible at once."""

import asyncio
import os
import time

from ..processes import Processes, answers, free_ports, until

BATCH = 500
PUBLISHES_UNDER_WAY = 500


class JetStream:
    name = f"NATS JetStream, a syncfs for each {BATCH} files"
    lacks = (
        "the server acknowledges what it has not synced (`sync_interval`); a file cannot be larger than a "
        "message; no directories are made durable but by this consumer"
    )

    def __init__(self, home):
        self.processes, self.home, self.runs = Processes(), home, 0

    def __enter__(self):
        self.home.mkdir(parents=True)
        [self.port] = free_ports(1)
        config = self.home / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self.home}/store" }}\n'
        )
        self.processes.start(["nats-server", "-c", config], self.home / "nats.log")
        until("the NATS server", lambda: answers(self.port))
        return self

    def __exit__(self, *_):
        self.processes.end()

    def send(self, source, into):
        into.mkdir(parents=True)
        self.runs += 1
        return asyncio.run(self.transfer(source, into, f"files{self.runs}"))

    async def transfer(self, source, into, stream):
        import nats  # Only whoever compares with NATS needs its client.

        client = await nats.connect(f"nats://127.0.0.1:{self.port}")
        jetstream = client.jetstream()
        await jetstream.add_stream(name=stream, subjects=[f"{stream}.*"])
        files = sorted(os.scandir(source), key=lambda entry: entry.name)
        taker = await jetstream.pull_subscribe(f"{stream}.*", durable="taker")
        slots = asyncio.Semaphore(PUBLISHES_UNDER_WAY)

        async def publish(entry):
            async with slots:
                with open(entry.path, "rb") as file:
                    await jetstream.publish(f"{stream}.{entry.name}", file.read())

        async def take():
            left, directory = len(files), os.open(into, os.O_RDONLY)
            while left:
                batch = await taker.fetch(min(BATCH, left), timeout=60)
                for message in batch:
                    with open(into / message.subject.split(".", 1)[1], "wb") as file:
                        file.write(message.data)
                syncfs(directory)
                for message in batch:
                    await message.ack()
                left -= len(batch)
            os.close(directory)

        began = time.monotonic()
        await asyncio.gather(take(), *(publish(entry) for entry in files))
        took = time.monotonic() - began
        await client.close()
        return took


def syncfs(descriptor):
    import ctypes

    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
        raise OSError(ctypes.get_errno(), "syncfs")
