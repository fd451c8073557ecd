"""A participant made of ntgcalls, unmodified: joins over the HTTP door, sends, and hands out what
its callbacks get.

usage: foreign_client.py DOOR CHAT NAME WHOM SECONDS FOLDER

Joins CHAT at DOOR as NAME, sends a tone and moving pictures, and receives for SECONDS what WHOM
sends. Each callback appends to FOLDER/received: one letter (`a` sound, `v` picture), then four
little-endian 32-bit numbers (milliseconds since the start, width, height, length of the data),
then the data: 16-bit stereo sound at 48 kHz, or the luma plane of a picture. The last line on
stdout is what happened, as JSON, and when the pictures were asked for.
"""

import asyncio
import json
import math
import os
import struct
import sys
import threading
import time
import urllib.error
import urllib.request

import ntgcalls as nt

CHAT_ID = 1
CONNECT_SECONDS = 15

# What is sent: small pictures, so that three simulcast encoders fit into what a test may take.
WIDTH, HEIGHT, FPS = 640, 360, 30
TONE_HZ, SAMPLE_RATE = 880, 48_000


def tone():
    """One second of 16-bit stereo, in which the tone has a whole number of periods."""
    samples = (
        round(8_000 * math.sin(2 * math.pi * TONE_HZ * n / SAMPLE_RATE)) for n in range(SAMPLE_RATE)
    )
    return b"".join(struct.pack("<hh", sample, sample) for sample in samples)


def pictures():
    """Stripes that move to the left by four pixels a picture until they look as before, I420."""
    line = bytes(64 + (x // 32 % 4) * 40 for x in range(WIDTH + 128))
    chroma = bytes([128]) * (WIDTH * HEIGHT // 2)
    return b"".join(line[4 * n : 4 * n + WIDTH] * HEIGHT + chroma for n in range(32))


def endless(folder, name, data):
    """What ntgcalls runs to get the data again and again."""
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(data)
    return f"sh -c 'while cat {path}; do :; done 2>/dev/null'"


class Door:
    """The emulator's HTTP door."""

    def __init__(self, url, chat):
        self.url, self.chat = url, chat

    def post(self, path, **body):
        body = json.dumps({"chat": self.chat, **body}).encode()
        request = urllib.request.Request(self.url + path, data=body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.headers.get("X-Participant"), response.read().decode()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {error.read().decode()}") from error

    def participants(self):
        url = f"{self.url}/participants?chat={self.chat}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["participants"]


async def main(url, chat, name, whom, seconds, folder):
    door, start = Door(url, chat), time.monotonic()
    states, lock = [], threading.Lock()
    connected, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_connection_change(_, info):
        states.append(info.state.name)
        if info.state == nt.ConnectionState.CONNECTED:
            loop.call_soon_threadsafe(connected.set)

    def on_frames(_, mode, device, frames):
        at = round((time.monotonic() - start) * 1000)
        if mode != nt.StreamMode.PLAYBACK:
            return
        with lock:
            for frame in frames:
                data, width, height = frame.data, frame.frame_data.width, frame.frame_data.height
                is_video = device == nt.StreamDevice.CAMERA
                if is_video:
                    data = data[: width * height]
                heard_and_seen.write(b"v" if is_video else b"a")
                heard_and_seen.write(struct.pack("<4I", at, width, height, len(data)))
                heard_and_seen.write(data)

    shell, external = nt.MediaSource.SHELL, nt.MediaSource.EXTERNAL
    tones, moves = endless(folder, "tone", tone()), endless(folder, "pictures", pictures())
    sent = nt.MediaDescription(
        microphone=nt.AudioDescription(shell, SAMPLE_RATE, 2, tones, False),
        speaker=None,
        camera=nt.VideoDescription(shell, WIDTH, HEIGHT, FPS, moves, False),
        screen=None,
    )
    received = nt.MediaDescription(
        microphone=nt.AudioDescription(external, SAMPLE_RATE, 2, "", False),
        speaker=None,
        camera=nt.VideoDescription(external, 1280, 720, 30, "", False),
        screen=None,
    )

    with open(os.path.join(folder, "received"), "wb") as heard_and_seen:
        calls = nt.NTgCalls()
        calls.on_connection_change(on_connection_change)
        calls.on_frames(on_frames)
        params = await calls.create_call(CHAT_ID)
        await calls.set_stream_sources(CHAT_ID, nt.StreamMode.CAPTURE, sent)
        await calls.set_stream_sources(CHAT_ID, nt.StreamMode.PLAYBACK, received)
        participant, answer = door.post("/join", name=name, params=params)
        await calls.connect(CHAT_ID, answer, False)
        await asyncio.wait_for(connected.wait(), CONNECT_SECONDS)
        video = next(p["video"] for p in door.participants() if p["peer"] == whom)
        groups = [
            nt.SsrcGroup(group["semantics"], [source & 0xFFFF_FFFF for source in group["sources"]])
            for group in video["source_groups"]
        ]
        asked = round((time.monotonic() - start) * 1000)
        await calls.add_incoming_video(CHAT_ID, 2, video["endpoint"], groups)
        await asyncio.sleep(seconds)
        door.post("/leave", participant=int(participant))
        # A callback that is still running must not meet a closed file.
        with lock:
            heard_and_seen.flush()
            print(json.dumps({"states": states, "asked_ms": asked}), flush=True)
            # Its threads end with the process: `calls.stop` aborts now and then.
            os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:5], float(sys.argv[5]), sys.argv[6]))
