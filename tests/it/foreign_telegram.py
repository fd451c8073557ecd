"""A foreign MTProto client: Telethon, unmodified, takes part in a video chat.

    foreign_telegram.py HOST PORT USERNAME    the key as 512 hexadecimal digits on stdin

It finds the chat, joins its video chat, waits until the other participant has left again,
changes its own row, is checked, and leaves. What it has seen stands in one JSON object on stdout.
"""

import asyncio
import json
import sys

from telethon import TelegramClient, events, functions, types
from telethon.crypto import AuthKey
from telethon.network import ConnectionTcpFull
from telethon.sessions import MemorySession

SSRC = 77
PARAMS = {
    "ssrc": SSRC,
    "ufrag": "k8Qz",
    "pwd": "Y1nVb0oXw7c3Lr5TgJ2uKeHs",
    "fingerprints": [{
        "hash": "sha-256",
        "setup": "passive",
        "fingerprint": "3B:91:0C:5E:77:AA:14:D2:60:8F:E1:49:B3:02:CD:7A:"
                       "95:6E:2F:18:C4:8D:31:F0:5B:A6:E9:13:70:4C:DE:28",
    }],
}


async def run(host, port, username, key):
    session = MemorySession()
    session.set_dc(2, host, port)
    session.auth_key = AuthKey(bytes.fromhex(key))
    client = TelegramClient(session, 1, "hash", connection=ConnectionTcpFull)
    left = asyncio.Event()

    @client.on(events.Raw(types.UpdateGroupCallParticipants))
    async def _(update):
        if any(row.left and row.source != SSRC for row in update.participants):
            left.set()

    await client.connect()
    seen = {"me": (await client.get_me()).first_name}
    seen["dialogs"] = [dialog.title async for dialog in client.iter_dialogs()]
    chat = await client.get_input_entity(username)
    full = await client(functions.channels.GetFullChannelRequest(chat))
    call = full.full_chat.call
    answer = await client(functions.phone.JoinGroupCallRequest(
        call=call,
        join_as=types.InputPeerSelf(),
        params=types.DataJSON(json.dumps(PARAMS)),
        muted=True,
        video_stopped=True,
    ))
    connection = [u for u in answer.updates if isinstance(u, types.UpdateGroupCallConnection)]
    seen["answer"] = json.loads(connection[0].params.data)
    page = await client(functions.phone.GetGroupParticipantsRequest(
        call=call, ids=[], sources=[], offset="", limit=100))
    seen["participants"] = sorted(
        [{"source": row.source, "self": row.is_self, "muted": row.muted} for row in page.participants],
        key=lambda row: row["self"])
    print("ready", flush=True)
    await asyncio.wait_for(left.wait(), 10)
    await client(functions.phone.EditGroupCallParticipantRequest(
        call=call, participant=types.InputPeerSelf(), raise_hand=True))
    seen["known"] = await client(functions.phone.CheckGroupCallRequest(call=call, sources=[SSRC, 78]))
    await client(functions.phone.LeaveGroupCallRequest(call=call, source=SSRC))
    try:
        await client(functions.phone.CheckGroupCallRequest(call=call, sources=[SSRC]))
    except Exception as error:
        seen["afterwards"] = type(error).__name__
    print(json.dumps(seen), flush=True)
    await client.disconnect()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.stdin.readline().strip()))
