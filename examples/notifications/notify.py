"""Notifies a user, or everybody: python notify.py 123 "your order has shipped"; python notify.py all "maintenance"."""

import asyncio
import json
import os
import sys

import nats


async def main(user, message):
    bus = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    subject = "hf.send.all" if user == "all" else f"hf.send.user.{user}"
    body = json.dumps({"type": "alarm", "message": message}).encode()
    patience = {"Hf-Timeout": "2000"}  # how long slow gateways may take to say how many they reached
    receipt = json.loads((await bus.request(subject, body, timeout=3, headers=patience)).data)
    if receipt["offline"]:
        print(f"{user} is not connected: a push service may take over")
    else:
        print(f"reached {receipt['matched']} connections")
    await bus.close()


asyncio.run(main(*sys.argv[1:]))
