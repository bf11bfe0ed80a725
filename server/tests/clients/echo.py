"""Python's `websockets` against the server's echo, with and without compression.

Called by `scripts/test-python` with the path of the program.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile

from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Deflate

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 300_000]
OFFERS = {
    "nothing": None,
    "what it offers by default": [Deflate(server_max_window_bits=12, client_max_window_bits=12)],
    "no context takeover": [Deflate(True, True)],
}


class Server:
    """The program, in a directory of its own."""

    def __init__(self, program, compression):
        self.data = tempfile.TemporaryDirectory()
        env = {name: value for name, value in os.environ.items() if not name.startswith("DORMOUSE_")}
        env |= {
            "DORMOUSE_COMPRESSION": compression,
            "DORMOUSE_TEST_CONTROLS": "true",
            "DORMOUSE_LIMITS_MESSAGE_BYTES": "1MiB",
            "DORMOUSE_LIMITS_OUTBOUND_BYTES": "1MiB",
        }
        command = [program, "--listen", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--data", self.data.name]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        for line in self.process.stdout:
            if found := re.search(r"listening on http://(\S+)", line):
                return f"ws://{found[1]}/v1/connect"
        raise SystemExit("the server has ended before it was ready")

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(20) == 0, "the server stops in order"
        self.data.cleanup()


async def exchange(url, offer, is_agreed):
    async with connect(url, subprotocols=["dormouse.test.echo"], compression=None, extensions=offer,
                       max_size=None, open_timeout=20, close_timeout=20) as socket:
        assert bool(socket.protocol.extensions) == is_agreed, socket.protocol.extensions
        for size in SIZES:
            text = ("Schlaf, Mäuschen! " * (size // 18 + 1))[:size]
            for message in (text, bytes(n * n % 251 for n in range(size))):
                await socket.send(message)
                assert await socket.recv() == message, f"{type(message)} of {size}"
        parts = ["one of three, " * 100] * 3
        await socket.send(parts)
        assert await socket.recv() == "".join(parts)
        await asyncio.wait_for(await socket.ping("are you there"), 20)
        await socket.close(4001, "goodbye")
        assert (socket.close_code, socket.protocol.close_rcvd.code) == (1000, 1000), socket.protocol


async def main(program):
    for compression in ("false", "true"):
        with Server(program, compression) as url:
            for name, offer in OFFERS.items():
                is_agreed = offer is not None and compression == "true"
                await asyncio.wait_for(exchange(url, offer, is_agreed), 120)
                print(f"websockets offers {name}, compression = {compression}: in order")


asyncio.run(main(sys.argv[1]))
