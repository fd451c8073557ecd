"""A foreign bot, whole: py-tgcalls on Telethon, both unmodified, plays a tone into a video chat.

    foreign_player.py HOST PORT USERNAME FILE    the key as 512 hexadecimal digits on stdin

FILE is written: 660 Hz at −12 dBFS, raw, for longer than the test takes. It plays until stdin ends.
"""

import asyncio
import math
import struct
import sys

from ntgcalls import MediaSource
from pytgcalls import PyTgCalls
from pytgcalls.types.raw import AudioParameters, AudioStream, Stream
from telethon import TelegramClient
from telethon.crypto import AuthKey
from telethon.network import ConnectionTcpFull
from telethon.sessions import MemorySession

RATE = 48_000
SECONDS = 60
PEAK = 0.25 * 32767


def write_tone(path):
    one = [round(PEAK * math.sin(2 * math.pi * 660 * n / RATE)) for n in range(RATE)]
    second = struct.pack(f"<{2 * RATE}h", *(sample for sample in one for _ in range(2)))
    with open(path, "wb") as file:
        for _ in range(SECONDS):
            file.write(second)


async def run(host, port, username, path, key):
    write_tone(path)
    session = MemorySession()
    session.set_dc(2, host, port)
    session.auth_key = AuthKey(bytes.fromhex(key))
    client = TelegramClient(session, 1, "hash", connection=ConnectionTcpFull)
    await client.connect()
    chat = await client.get_entity(username)
    app = PyTgCalls(client)
    await app.start()
    tone = AudioStream(MediaSource.FILE, path, AudioParameters(RATE, 2))
    await app.play(int(f"-100{chat.id}"), Stream(microphone=tone))
    print("playing", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await app.leave_call(int(f"-100{chat.id}"))
    print("left", flush=True)
    await client.disconnect()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.stdin.readline().strip()))
