//! How clients of Holdfast greet: dialects json, bare and stomp, and the frames of SockJS.

use holdfast_harness::Claims;

use super::open::{Duplex, Greeting, Input};
use super::ws;

/// The key of RFC 6455's own example; nobody here checks the answer to it.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Where they connect.
pub(crate) const PATH: &str = "/ws/bench";

/// A client of dialect json with a token in the header, one user each: `u<number>`.
pub(crate) struct Json {
    pub(crate) host: String,
    /// The rooms that the `number`th client joins.
    pub(crate) rooms: Rooms,
    /// The number of the first client's user.
    pub(crate) first: usize,
}

/// A client of dialect bare, which joins by its URL.
pub(crate) struct Bare {
    pub(crate) host: String,
    pub(crate) room: String,
}

/// A client of dialect stomp, version 1.2, subscribed to the room's topic.
pub(crate) struct Stomp {
    pub(crate) host: String,
    pub(crate) room: String,
}

/// A client in the frames of SockJS, of dialect json or stomp.
pub(crate) struct SockJs {
    pub(crate) host: String,
    pub(crate) room: String,
    pub(crate) stomp: bool,
}

/// Rooms of a client, by its number.
pub(crate) type Rooms = Box<dyn Fn(usize) -> Vec<String> + Send + Sync>;

/// No rooms.
pub(crate) fn no_rooms() -> Rooms {
    Box::new(|_| Vec::new())
}

/// The same room for everybody.
pub(crate) fn one_room(room: &str) -> Rooms {
    let room = room.to_owned();
    Box::new(move |_| vec![room.clone()])
}

/// The user of the `number`th connection.
pub(crate) fn user(number: usize) -> String {
    format!("u{number}")
}

/// An upgrade request; `more` are whole header lines.
pub(crate) fn upgrade(path: &str, host: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    )
}

/// The token of the `number`th connection.
pub(crate) fn token(number: usize) -> String {
    Claims::of(&user(number)).expires_in(24 * 3600).sign()
}

impl Greeting for Json {
    fn greet(&self, number: usize, stream: &mut dyn Duplex, input: &mut Input) -> anyhow::Result<()> {
        let number = self.first + number;
        let more = format!("Sec-WebSocket-Protocol: holdfast.v1.json\r\nAuthorization: Bearer {}\r\n", token(number));
        stream.write_all(upgrade(PATH, &self.host, &more).as_bytes())?;
        input.upgraded(stream)?;
        input.expect(stream, "\"welcome\"")?;
        for room in (self.rooms)(number) {
            let join = serde_json::json!({"type": "join", "id": 1, "room": room});
            stream.write_all(&ws::text(join.to_string().as_bytes()))?;
            input.answered(stream)?;
        }
        Ok(())
    }
}

impl Greeting for Bare {
    fn greet(&self, number: usize, stream: &mut dyn Duplex, input: &mut Input) -> anyhow::Result<()> {
        let more = format!("Sec-WebSocket-Protocol: holdfast.v1.bare\r\nAuthorization: Bearer {}\r\n", token(number));
        let path = format!("{PATH}?room={}", self.room);
        stream.write_all(upgrade(&path, &self.host, &more).as_bytes())?;
        input.upgraded(stream)
    }
}

impl Greeting for Stomp {
    fn greet(&self, number: usize, stream: &mut dyn Duplex, input: &mut Input) -> anyhow::Result<()> {
        let more = "Sec-WebSocket-Protocol: v12.stomp\r\n";
        stream.write_all(upgrade(PATH, &self.host, more).as_bytes())?;
        input.upgraded(stream)?;
        let token = token(number);
        let connect = format!("CONNECT\naccept-version:1.2\nhost:x\nAuthorization:Bearer {token}\n\n\0");
        stream.write_all(&ws::text(connect.as_bytes()))?;
        input.expect(stream, "CONNECTED\n")?;
        let subscribe = format!("SUBSCRIBE\nid:0\ndestination:/topic/{}\nreceipt:0\n\n\0", self.room);
        stream.write_all(&ws::text(subscribe.as_bytes()))?;
        input.expect(stream, "RECEIPT\n")
    }
}

impl Greeting for SockJs {
    fn greet(&self, number: usize, stream: &mut dyn Duplex, input: &mut Input) -> anyhow::Result<()> {
        let path = format!("{PATH}/000/s{number}/websocket");
        let more = format!("Authorization: Bearer {}\r\n", token(number));
        stream.write_all(upgrade(&path, &self.host, &more).as_bytes())?;
        input.upgraded(stream)?;
        input.expect(stream, "o")?;
        let say = |message: &str, stream: &mut dyn Duplex| {
            stream.write_all(&ws::text(serde_json::json!([message]).to_string().as_bytes()))
        };
        if self.stomp {
            say("CONNECT\naccept-version:1.2\nhost:x\n\n\0", stream)?;
            input.expect(stream, "CONNECTED")?;
            let room = &self.room;
            say(&format!("SUBSCRIBE\nid:0\ndestination:/topic/{room}\nreceipt:0\n\n\0"), stream)?;
            return input.expect(stream, "RECEIPT");
        }
        say(&serde_json::json!({"type": "join", "id": 1, "room": self.room}).to_string(), stream)?;
        input.expect(stream, "welcome")?;
        input.expect(stream, "\\\"ok\\\"")
    }
}
