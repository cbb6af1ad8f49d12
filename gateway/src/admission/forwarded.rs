//! Whom a proxy speaks for, by the header it writes: the right-most address that is not a proxy of ours. What stands
//! left of it anybody may have written.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;

/// Which header trusted proxies write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedBy {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The client's address: walks from the last hop to the first while each is a proxy of ours. Where a hop cannot be
/// read, the one before it is the answer.
pub(super) fn client(
    by: ForwardedBy,
    headers: &HeaderMap,
    proxy: IpAddr,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let name = match by {
        ForwardedBy::XForwardedFor => "x-forwarded-for",
        ForwardedBy::Forwarded => "forwarded",
    };
    let mut client = proxy;
    // Several lines are one list, in their order (RFC 9110 §5.3). Hops are few, and a head is bounded.
    for line in headers.get_all(name).into_iter().rev() {
        let Ok(line) = line.to_str() else { return client };
        for hop in line.rsplit(',') {
            let address = match by {
                ForwardedBy::XForwardedFor => parse(hop.trim()),
                ForwardedBy::Forwarded => element(hop),
            };
            let Some(address) = address else { return client };
            client = address;
            if !is_trusted(address) {
                return client;
            }
        }
    }
    client
}

/// `for=` of an element of `Forwarded`. Commas cannot stand in the addresses that are understood here.
fn element(hop: &str) -> Option<IpAddr> {
    let value = hop.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    })?;
    parse(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address, with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn found(by: ForwardedBy, name: &'static str, lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(line));
        }
        let trusted = |address: IpAddr| address.to_string().starts_with("10.") || address.to_string() == "fd00::1";
        client(by, &headers, "10.0.0.1".parse().expect("an address"), trusted).to_string()
    }

    fn x_forwarded_for(lines: &[&'static str]) -> String {
        found(ForwardedBy::XForwardedFor, "x-forwarded-for", lines)
    }

    fn forwarded(lines: &[&'static str]) -> String {
        found(ForwardedBy::Forwarded, "forwarded", lines)
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_of_ours_counts() {
        assert_eq!(x_forwarded_for(&["198.51.100.7"]), "198.51.100.7");
        assert_eq!(x_forwarded_for(&["1.2.3.4, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(x_forwarded_for(&["1.2.3.4", "198.51.100.7,10.0.0.2", "10.0.0.3"]), "198.51.100.7");
        assert_eq!(x_forwarded_for(&["198.51.100.7:4711, 10.0.0.2:80"]), "198.51.100.7");
        assert_eq!(x_forwarded_for(&["2001:db8::1, [fd00::1]:80"]), "2001:db8::1");
        assert_eq!(x_forwarded_for(&["::ffff:198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk_at_the_last_proxy() {
        assert_eq!(x_forwarded_for(&[]), "10.0.0.1");
        assert_eq!(x_forwarded_for(&["10.0.0.5"]), "10.0.0.5", "only proxies of ours");
        assert_eq!(x_forwarded_for(&["198.51.100.7, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(x_forwarded_for(&[""]), "10.0.0.1");
        assert_eq!(forwarded(&["for=_hidden"]), "10.0.0.1");
        assert_eq!(forwarded(&["by=1.2.3.4"]), "10.0.0.1");
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_the_one() {
        assert_eq!(forwarded(&["for=198.51.100.7;proto=https, For=10.0.0.2"]), "198.51.100.7");
        assert_eq!(forwarded(&["by=1.1.1.1; for=\"[2001:db8::1]:4711\""]), "2001:db8::1");
        assert_eq!(found(ForwardedBy::Forwarded, "x-forwarded-for", &["198.51.100.7"]), "10.0.0.1", "not this one");
    }
}
