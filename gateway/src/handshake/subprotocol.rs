//! `Sec-WebSocket-Protocol`: which dialect, and perhaps a token.

use holdfast_protocol::dialect::Dialect;

/// What a browser, which can set no header, puts before its token.
const BEARER: &str = "base64url.bearer.holdfast.";

/// What the client offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Offer<'a> {
    /// The first dialect that is known and allowed.
    pub(super) dialect: Option<Dialect>,
    /// What to answer: of several versions of that dialect the highest.
    pub(super) name: Option<&'static str>,
    /// Whether anything was offered at all.
    pub(super) any: bool,
    /// The token among the offers.
    pub(super) token: Option<&'a str>,
}

impl<'a> Offer<'a> {
    /// Reads the header's values. `None` if they are malformed: empty names, characters that no name has (RFC 6455
    /// §4.1, item 10), or two tokens.
    pub(super) fn read(values: impl Iterator<Item = &'a str>, allowed: &[Dialect]) -> Option<Self> {
        let mut offer = Self { dialect: None, name: None, any: false, token: None };
        let mut best = 0;
        for value in values {
            for name in value.split(',').map(|name| name.trim_matches([' ', '\t'])) {
                if name.is_empty() || !name.bytes().all(is_token) {
                    return None;
                }
                offer.any = true;
                if let Some(token) = name.strip_prefix(BEARER) {
                    if offer.token.replace(token).is_some() {
                        return None;
                    }
                } else if let Some((dialect, place)) = Dialect::from_subprotocol(name)
                    && allowed.contains(&dialect)
                    && offer.dialect.is_none_or(|chosen| chosen == dialect && place > best)
                {
                    best = place;
                    (offer.dialect, offer.name) = (Some(dialect), dialect.subprotocols().get(place).copied());
                }
            }
        }
        Some(offer)
    }
}

/// RFC 9110 §5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_dialect_is_chosen() {
        let json = Some(Dialect::Json);
        let bare = Some(Dialect::Bare);
        for (values, expected) in [
            (&[][..], Some((None, false, None))),
            (&["holdfast.v1.json"], Some((json, true, None))),
            (&["chat, holdfast.v1.bare ,holdfast.v1.json"], Some((bare, true, None))),
            (&["chat", "holdfast.v1.json"], Some((json, true, None))),
            (&["soap"], Some((None, true, None))),
            (&["holdfast.v1.json, base64url.bearer.holdfast.a.b-c_d.e"], Some((json, true, Some("a.b-c_d.e")))),
            (&["base64url.bearer.holdfast.a.b.c"], Some((None, true, Some("a.b.c")))),
            (&["base64url.bearer.holdfast."], Some((None, true, Some("")))),
            (&[""], None),
            (&["a,,b"], None),
            (&["a b"], None),
            (&["holdfast.v1.json, base64url.bearer.holdfast.a, base64url.bearer.holdfast.b"], None),
        ] {
            let offer = Offer::read(values.iter().copied(), &Dialect::ALL);
            assert_eq!(offer.map(|offer| (offer.dialect, offer.any, offer.token)), expected, "{values:?}");
        }
    }

    #[test]
    fn the_highest_version_is_answered() {
        for (value, expected) in [
            ("v10.stomp, v11.stomp, v12.stomp", Some("v12.stomp")),
            ("v12.stomp, v11.stomp, v10.stomp", Some("v12.stomp")),
            ("chat, v11.stomp, holdfast.v1.json, v10.stomp", Some("v11.stomp")),
            ("holdfast.v1.json, v12.stomp", Some("holdfast.v1.json")),
            ("v13.stomp", None),
        ] {
            let offer = Offer::read([value].into_iter(), &Dialect::ALL).unwrap();
            assert_eq!(offer.name, expected, "{value}");
        }
    }

    #[test]
    fn a_dialect_that_the_endpoint_has_not_is_unknown() {
        let offer = Offer::read(["holdfast.v1.json"].into_iter(), &[Dialect::Bare]).unwrap();

        assert_eq!((offer.dialect, offer.any), (None, true));
    }
}
