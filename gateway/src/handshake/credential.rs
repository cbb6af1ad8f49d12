//! Where a handshake carries its credential. The first source that is there decides: a bad one is not passed over for
//! a good one further down.

use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap};

use super::endpoint::Source;

/// What the sources gave.
#[derive(PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A token.
    Token(&'a str),
    /// A source is there and holds nothing that could be read.
    Unreadable,
    /// No source is there.
    Nothing,
}

/// The name of the cookie.
const COOKIE_NAME: &str = "holdfast_token";

/// Looks into `sources` in their order. `query` and `subprotocol` are the tokens found there.
pub(super) fn find<'a>(
    sources: &[Source],
    headers: &'a HeaderMap,
    query: Option<&'a str>,
    subprotocol: Option<&'a str>,
) -> Found<'a> {
    for source in sources {
        let found = match source {
            Source::Authorization => authorization(headers),
            Source::Cookie => cookie(headers),
            Source::Query => query.map_or(Found::Nothing, Found::Token),
            Source::Subprotocol => subprotocol.map_or(Found::Nothing, Found::Token),
            Source::FirstMessage => Found::Nothing,
        };
        match found {
            Found::Nothing => {}
            Found::Token("") => return Found::Unreadable,
            Found::Token(_) | Found::Unreadable => return found,
        }
    }
    Found::Nothing
}

/// Other schemes are not ours: a browser sends `Basic` by itself to a site that once asked for it.
fn authorization(headers: &HeaderMap) -> Found<'_> {
    let mut values = headers.get_all(AUTHORIZATION).into_iter();
    let Some(value) = values.next() else { return Found::Nothing };
    let (Ok(text), None) = (value.to_str(), values.next()) else { return Found::Unreadable };
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") { Found::Token(token.trim()) } else { Found::Nothing }
}

fn cookie(headers: &HeaderMap) -> Found<'_> {
    for value in headers.get_all(COOKIE) {
        let pairs = value.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        for pair in pairs {
            let Some(value) = pair.strip_prefix(COOKIE_NAME.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) else {
                continue;
            };
            let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
            return std::str::from_utf8(value).map_or(Found::Unreadable, Found::Token);
        }
    }
    Found::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (hyper::header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn shown(found: &Found<'_>) -> String {
        match found {
            Found::Token(token) => (*token).to_owned(),
            Found::Unreadable => "(unreadable)".to_owned(),
            Found::Nothing => "(nothing)".to_owned(),
        }
    }

    #[test]
    fn the_first_source_that_is_there_decides() {
        for (lines, query, subprotocol, expected) in [
            (&[][..], None, None, "(nothing)"),
            (&[("authorization", "Bearer h")][..], Some("q"), Some("s"), "h"),
            (&[("authorization", "bearer  h ")], None, None, "h"),
            (&[("authorization", "Bearer")], Some("q"), None, "(unreadable)"),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], None, None, "(unreadable)"),
            (&[("authorization", "Basic eDp5")], Some("q"), None, "q"),
            (&[("cookie", "a=b; holdfast_token=c; d=e")], Some("q"), None, "c"),
            (&[("cookie", "a=b"), ("cookie", "holdfast_token=\"c\"")], None, None, "c"),
            (&[("cookie", "xholdfast_token=c; holdfast_tokenx=c; holdfast_token")], Some("q"), None, "q"),
            (&[("cookie", "holdfast_token=")], Some("q"), None, "(unreadable)"),
            (&[], Some(""), Some("s"), "(unreadable)"),
            (&[], Some("q"), Some("s"), "q"),
            (&[], None, Some("s"), "s"),
        ] {
            let headers = headers(lines);
            assert_eq!(shown(&find(&Source::ALL, &headers, query, subprotocol)), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_order_is_a_setting() {
        let headers = headers(&[("authorization", "Bearer h"), ("cookie", "holdfast_token=c")]);

        for (sources, expected) in [
            (&[Source::Cookie, Source::Authorization][..], "c"),
            (&[Source::Query, Source::Authorization], "q"),
            (&[Source::FirstMessage], "(nothing)"),
            (&[], "(nothing)"),
        ] {
            assert_eq!(shown(&find(sources, &headers, Some("q"), None)), expected, "{sources:?}");
        }
    }
}
