"""The Spring Boot example, which publishes through a gateway's STOMP/TCP listener: what it says reaches rooms and users."""

import asyncio
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request

import websockets
from stage import STAGE, done, report, skip, token, unique

START_PATIENCE = 120
PATIENCE = 15


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def client(user, destination, gateway):
    client = await websockets.connect(f"ws://{STAGE['gateways'][gateway]}/ws/chat", subprotocols=["v12.stomp"])
    await client.send(f"CONNECT\naccept-version:1.2\nAuthorization:Bearer {token(user)}\n\n\0")
    await client.recv()
    await client.send(f"SUBSCRIBE\nid:s\ndestination:{destination}\nreceipt:r\n\n\0")
    assert (await client.recv()).startswith("RECEIPT\n")
    return client


class Application:
    def __init__(self, jar):
        self.port = free_port()
        relay_port = STAGE["relay"].rsplit(":", 1)[1]
        settings = [f"--server.port={self.port}", f"--relay.port={relay_port}", f"--relay.passcode={STAGE['passcode']}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["java", "-jar", jar, *settings], **quiet)

    def post(self, path, body):
        headers = {"Content-Type": "text/plain;charset=UTF-8"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body.encode(), headers=headers)
        with urllib.request.urlopen(request, timeout=PATIENCE):
            pass

    def publishes(self):
        """It refuses (500) until its broker, a gateway, is available."""
        deadline = time.monotonic() + START_PATIENCE
        while True:
            try:
                return self.post("/rooms/probe", "ready?")
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def stop(self):
        self.process.terminate()
        self.process.wait()


async def bodies(client, count):
    frames = [await asyncio.wait_for(client.recv(), PATIENCE) for _ in range(count)]
    return [frame.split("\n\n", 1)[1].rstrip("\0") for frame in frames]


async def to_a_room(application):
    room = unique("room")
    listener = await client("ana", f"/topic/{room}", 1)
    sent = [f"hello {number} 안녕 👋" for number in range(100)]
    for body in sent:
        await asyncio.to_thread(application.post, f"/rooms/{room}", body)
    assert await bodies(listener, len(sent)) == sent
    await listener.close()


async def to_a_user(application):
    listener = await client("ben", "/user/queue/notifications", 0)
    await asyncio.to_thread(application.post, "/users/ben", "for ben")
    assert await bodies(listener, 1) == ["for ben"]
    await listener.close()


async def main():
    name = "Spring Boot, enableStompBrokerRelay"
    jar = os.environ.get("CLIENTS_SPRING")
    if not jar:
        skip(name, "it was not built: no Java, no Maven, or nowhere to get it from")
        return
    application = Application(jar)
    try:
        await asyncio.to_thread(application.publishes)
        for what, body in (("a hundred messages to a room, in order", to_a_room), ("a message to a user", to_a_user)):
            try:
                await asyncio.wait_for(body(application), 4 * PATIENCE)
            except Exception as error:
                report(f"{name}: {what}", error)
            else:
                report(f"{name}: {what}")
    finally:
        application.stop()


asyncio.run(main())
done()
