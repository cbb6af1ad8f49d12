"""websockets and aiohttp, dialects json and bare."""

import asyncio
import json

import aiohttp
import websockets
from stage import PATIENCE, STAGE, done, report, token, unique


class Websockets:
    TITLE = "websockets 17.4"

    @classmethod
    async def open(cls, url, protocol):
        self = cls()
        self.socket = await websockets.connect(url, subprotocols=[protocol])
        assert self.socket.subprotocol == protocol
        return self

    async def send(self, message):
        await self.socket.send(message)

    async def receive(self):
        return await self.socket.recv()

    async def end(self):
        await self.socket.wait_closed()
        return self.socket.close_code

    async def leave(self):
        await self.socket.close()


class Aiohttp:
    TITLE = "aiohttp 3.14.5"

    @classmethod
    async def open(cls, url, protocol):
        self = cls()
        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(url, protocols=[protocol])
        assert self.socket.protocol == protocol
        return self

    async def send(self, message):
        await (self.socket.send_str(message) if isinstance(message, str) else self.socket.send_bytes(message))

    async def receive(self):
        message = await self.socket.receive()
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        return message.data

    async def end(self):
        while (await self.socket.receive()).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
            pass
        await self.session.close()
        return self.socket.close_code

    async def leave(self):
        await self.socket.close()
        await self.session.close()


def url(gateway, query=""):
    return f"ws://{STAGE['gateways'][gateway]}/ws/chat{query}"


async def ask(client, message):
    await client.send(json.dumps({**message, "id": 1}))
    return json.loads(await client.receive())


async def welcomed(library, user, gateway):
    client = await library.open(url(gateway), "holdfast.v1.json")
    welcome = await ask(client, {"type": "auth", "token": token(user)})
    assert (welcome["type"], welcome["user"]) == ("welcome", user), welcome
    return client


async def a_room_over_two_nodes(library):
    room = unique("room")
    ana, ben = await welcomed(library, "ana", 0), await welcomed(library, "ben", 1)
    for client in (ana, ben):
        assert (await ask(client, {"type": "join", "room": room}))["type"] == "ok"
    data = {"text": "안녕 👋", "nul": "a\0b"}
    await ana.send(json.dumps({"type": "send", "to": f"room.{room}", "data": data}))
    for client in (ana, ben):
        message = json.loads(await client.receive())
        assert (message["room"], message["data"]) == (room, data), message
        await client.leave()


async def requests_and_errors(library):
    client = await welcomed(library, "ben", 0)
    reply = await ask(client, {"type": "request", "to": "who", "data": None})
    assert (reply["type"], reply["data"]) == ("reply", {"user": "ben"}), reply
    error = await ask(client, {"type": "request", "to": "fail", "data": None})
    assert (error["code"], error["status"]) == ("service", 418), error
    await client.send(json.dumps({"type": "send", "to": "kick", "data": None}))
    assert await client.end() == 4100


async def bare_text_and_bytes(library):
    room = unique("room")
    client = await library.open(url(1, f"?room={room}&token={token('ana')}"), "holdfast.v1.bare")
    sender = await welcomed(library, "ben", 0)
    # `?room=` is joined after the upgrade: until then nothing comes.
    heard = asyncio.create_task(client.receive())
    while not heard.done():
        await sender.send(json.dumps({"type": "send", "to": f"room.{room}", "data": {"n": 1}}))
        await asyncio.wait([heard], timeout=0.1)
    assert heard.result() == '{"n": 1}', heard.result()
    await client.send(bytes(range(256)))
    await client.leave()
    await sender.leave()


async def main():
    for library in (Websockets, Aiohttp):
        for body in (a_room_over_two_nodes, requests_and_errors, bare_text_and_bytes):
            name = f"{library.TITLE}: {body.__name__.replace('_', ' ')}"
            try:
                await asyncio.wait_for(body(library), 2 * PATIENCE)
            except Exception as error:
                report(name, error)
            else:
                report(name)
    done()


asyncio.run(main())
