"""stomp.py 9.0.0 over its WebSocket transport, which speaks STOMP 1.2."""

import json
import queue
import threading

import stomp
from stage import PATIENCE, STAGE, address, check, done, token, unique

TITLE = "stomp.py 9.0.0, STOMP 1.2"


class Session(stomp.ConnectionListener):
    def __init__(self, user="ana", gateway=0, where=None, **options):
        self.messages = queue.Queue()
        self.receipts = queue.Queue()
        self.errors = queue.Queue()
        self.lost = threading.Event()
        self.silent = threading.Event()
        self.greetings = queue.Queue()
        self.headers = None
        self.client = stomp.WSStompConnection([where or address(gateway)], ws_path="/ws/chat", **options)
        self.client.set_listener("", self)
        self.client.connect(wait=False, headers={"Authorization": f"Bearer {token(user)}"})

    def connected(self):
        self.headers = self.greetings.get(timeout=PATIENCE)
        return self

    def on_connected(self, frame):
        self.greetings.put(frame.headers)

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])

    def on_error(self, frame):
        self.errors.put(frame)

    def on_disconnected(self):
        self.lost.set()

    def on_heartbeat_timeout(self):
        self.silent.set()

    def subscribe(self, destination, id, **headers):
        self.client.subscribe(destination, id, receipt=id, **headers)
        assert self.receipts.get(timeout=PATIENCE) == id

    def message(self):
        return self.messages.get(timeout=PATIENCE)

    def leave(self):
        self.client.disconnect(receipt="bye")
        assert self.receipts.get(timeout=PATIENCE) == "bye"
        assert self.lost.wait(PATIENCE), "the connection does not end"


def round_trip():
    room = unique("room")
    ana, ben = Session("ana", 0).connected(), Session("ben", 1).connected()
    assert ana.headers["version"] == "1.2" and ana.headers["user-name"] == "ana", ana.headers
    for session in (ana, ben):
        session.subscribe(f"/topic/{room}", "s")
    ana.client.send(f"/app/room/{room}", "안녕 👋", content_type="text/plain", receipt="sent")
    assert ana.receipts.get(timeout=PATIENCE) == "sent"
    for session in (ana, ben):
        frame = session.message()
        assert frame.body == "안녕 👋", frame.body
        assert frame.headers["destination"] == f"/topic/{room}" and frame.headers["subscription"] == "s"
        session.leave()


def once():
    session = Session("ben").connected()
    session.client.subscribe("/app/who", "q")
    assert json.loads(session.message().body) == {"user": "ben"}
    session.leave()


def acknowledgements():
    room = unique("room")
    session = Session().connected()
    session.subscribe(f"/topic/{room}", "s", ack="client-individual")
    session.subscribe("/user/queue/acked", "own")
    session.client.send(f"/app/acked/{room}", "one")
    session.client.ack(session.message().headers["ack"])
    assert session.message().body == "1"
    session.client.send(f"/app/unacked/{room}", "two")
    session.client.nack(session.message().headers["ack"])
    assert session.message().body == "0"
    session.leave()


def transactions():
    room = unique("room")
    session = Session().connected()
    session.subscribe(f"/topic/{room}", "s")
    dropped = session.client.begin()
    session.client.send(f"/app/room/{room}", "never", transaction=dropped)
    session.client.abort(dropped)
    kept = session.client.begin()
    for body in ("one", "two"):
        session.client.send(f"/app/room/{room}", body, transaction=kept)
    session.client.commit(kept)
    assert [session.message().body, session.message().body] == ["one", "two"]
    session.leave()


def unsubscribed():
    room = unique("room")
    session = Session().connected()
    session.subscribe(f"/topic/{room}", "a")
    session.subscribe(f"/sub/{room}", "b")
    session.client.unsubscribe("a")
    session.client.send(f"/app/room/{room}", "one")
    assert session.message().headers["subscription"] == "b"
    session.client.send(f"/app/room/{room}", "two")
    assert session.message().headers["subscription"] == "b"
    session.leave()


def denied():
    session = Session().connected()
    session.client.send("/topic/denied", "x", receipt="r")
    frame = session.errors.get(timeout=PATIENCE)
    assert frame.headers["message"] == "nobody may send to this destination", frame.headers
    assert frame.headers["receipt-id"] == "r"
    assert session.lost.wait(PATIENCE), "the connection does not end"


def expired():
    session = Session("expired")
    frame = session.errors.get(timeout=PATIENCE)
    assert frame.headers["message"] == "the credential has expired", frame.headers


def silence():
    host, port = STAGE["stalling"].rsplit(":", 1)
    session = Session(where=(host, int(port)), heartbeats=(1000, 1000)).connected()
    assert session.headers["heart-beat"].startswith("1000,"), session.headers
    healer = Session("ben", 1).connected()
    healer.client.send("/app/stall", "")
    assert session.silent.wait(PATIENCE), "the silence is not noticed"
    healer.client.send("/app/heal", "")
    healer.leave()


check(f"{TITLE}: a message goes up, and comes down on another node, exactly", round_trip)
check(f"{TITLE}: a subscription to a service is answered once", once)
check(f"{TITLE}: ACK counts for the sender, NACK does not", acknowledgements)
check(f"{TITLE}: a transaction is carried out in order, or not at all", transactions)
check(f"{TITLE}: after UNSUBSCRIBE nothing comes", unsubscribed)
check(f"{TITLE}: what is denied is an ERROR with the receipt, and the end", denied)
check(f"{TITLE}: a token that has expired is an ERROR", expired)
check(f"{TITLE}: a server that falls silent is noticed", silence)
done()
