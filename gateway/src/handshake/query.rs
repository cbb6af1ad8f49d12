//! The query string, as forms and browsers write it.

use std::sync::Arc;

use holdfast_protocol::dialect::{is_device, is_user};
use holdfast_protocol::position::Position;
use holdfast_protocol::token::check_key;

/// The parameters that mean something here; others are the application's.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) token: Option<String>,
    pub(super) user: Option<String>,
    pub(super) device: Option<String>,
    pub(super) since: Option<Position>,
    pub(super) rooms: Vec<Arc<str>>,
}

impl Query {
    /// Reads a query. `None` where a parameter that means something is malformed, out of bounds, or (but for `room`)
    /// there twice: nobody should have to guess which one counts. `userId` means something only where `unsigned`. At
    /// most `rooms_max` rooms.
    pub(super) fn read(query: &str, unsigned: bool, rooms_max: usize) -> Option<Self> {
        let mut read = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "token" => &mut read.token,
                "userId" if unsigned => &mut read.user,
                "device" => &mut read.device,
                "since" => {
                    let since = Position::parse(&decode(value, true)?)?;
                    if read.since.replace(since).is_some() {
                        return None;
                    }
                    continue;
                }
                "room" => {
                    let room = decode(value, true).filter(|room| check_key(room).is_ok())?;
                    if read.rooms.iter().all(|known| **known != *room) {
                        read.rooms.push(room.into());
                    }
                    if read.rooms.len() > rooms_max {
                        return None;
                    }
                    continue;
                }
                _ => continue,
            };
            if slot.replace(decode(value, true)?).is_some() {
                return None;
            }
        }
        let user = read.user.as_deref().is_none_or(is_user);
        let device = read.device.as_deref().is_none_or(is_device);
        (user && device).then_some(read)
    }
}

/// Decodes `%XX`, and `+` as a space where that is the custom. `None` for a bad escape or what is not UTF-8 then.
pub(super) fn decode(text: &str, plus: bool) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_decoded() {
        let query = Query::read(
            "x=%zz&token=a.b.c&since=e%2E.17&userId=%ED%95%9C&device=my+phone&room=chat%2F5&room=a&room=a&",
            true,
            3,
        )
        .unwrap();

        assert_eq!(query.token.as_deref(), Some("a.b.c"));
        assert_eq!(query.user.as_deref(), Some("한"));
        assert_eq!(query.device.as_deref(), Some("my phone"));
        assert_eq!(query.since, Position::new("e.", 17));
        assert_eq!(query.rooms, [Arc::from("chat/5"), Arc::from("a")]);
        assert!(Query::read("userId=&userId=", false, 3).is_some_and(|query| query.user.is_none()));
        assert!(Query::read("", true, 3).is_some_and(|query| query == Query::default()));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let long = format!("device={}", "x".repeat(65));
        for query in [
            "token=%4",
            "token=%+1",
            "token=a&token=a",
            "userId=1&userId=2",
            "userId=",
            "userId=%0A",
            "userId=+ana",
            "device=",
            "device=a%00",
            long.as_str(),
            "since=",
            "since=17",
            "since=e.",
            "since=e.%2B1",
            "since=e%0A.1",
            "since=e.1&since=e.1",
            "room=",
            "room",
            "room=%FF",
            "room=a&room=b&room=c&room=d",
        ] {
            assert!(Query::read(query, true, 3).is_none(), "{query}");
        }
    }
}
