"""The chat's back end: what is sent to /app/sendMessage goes to everybody at /topic/messages."""

import asyncio
import os

import nats


async def main():
    bus = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))

    async def send_message(message):
        user = message.headers["Hf-User"]  # verified by the gateway
        print(f"{user}: {message.data.decode()}", flush=True)
        await bus.publish("hf.send.room.messages", message.data, headers={"Content-Type": "text/plain"})

    # One of several such services gets each message: they share a queue group.
    await bus.subscribe("hf.up.default.sendMessage", queue="chat", cb=send_message)
    await bus.flush()
    print("chat service is ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
