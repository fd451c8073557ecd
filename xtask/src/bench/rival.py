"""ntgcalls, unmodified, plays a file into a chat over the HTTP door, as a bot made with py-tgcalls
does: FFmpeg decodes to raw sound and raw pictures, ntgcalls encodes them.

    rival.py DOOR CHAT NAME FILE audio|video

Says `connected` when it is, and plays the file again and again until its standard input ends.
"""

import asyncio
import json
import os
import shlex
import sys
import urllib.request

import ntgcalls as nt

CHAT_ID = 1
CONNECT_SECONDS = 15
# py-tgcalls' own choice for a good quality.
RATE, CHANNELS = 48_000, 2
WIDTH, HEIGHT, FPS = 1280, 720, 30


def ffmpeg(path, *output):
    """What py-tgcalls runs, but endless."""
    return shlex.join(["ffmpeg", "-stream_loop", "-1", "-i", path, "-v", "quiet", *output, "pipe:1"])


def join(door, chat, name, params):
    body = json.dumps({"chat": chat, "name": name, "params": params}).encode()
    request = urllib.request.Request(door + "/join", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read().decode()


async def main(door, chat, name, path, kind):
    connected, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_connection_change(_, info):
        if info.state == nt.ConnectionState.CONNECTED:
            loop.call_soon_threadsafe(connected.set)

    shell = nt.MediaSource.SHELL
    sound = ffmpeg(path, "-f", "s16le", "-ac", str(CHANNELS), "-ar", str(RATE))
    pictures = ffmpeg(
        path, "-f", "rawvideo", "-r", str(FPS), "-pix_fmt", "yuv420p", "-vf", f"scale={WIDTH}:{HEIGHT}"
    )
    sent = nt.MediaDescription(
        microphone=nt.AudioDescription(shell, RATE, CHANNELS, sound, False),
        speaker=None,
        camera=nt.VideoDescription(shell, WIDTH, HEIGHT, FPS, pictures, False) if kind == "video" else None,
        screen=None,
    )
    calls = nt.NTgCalls()
    calls.on_connection_change(on_connection_change)
    params = await calls.create_call(CHAT_ID)
    await calls.set_stream_sources(CHAT_ID, nt.StreamMode.CAPTURE, sent)
    await calls.connect(CHAT_ID, join(door, chat, name, params), False)
    await asyncio.wait_for(connected.wait(), CONNECT_SECONDS)
    print("connected", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    # Its children end with their pipes; `calls.stop` aborts now and then.
    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
