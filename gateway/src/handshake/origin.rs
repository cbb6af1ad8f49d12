//! Which pages may open a connection. Only browsers send `Origin`, and only browsers need it checked: it keeps a
//! stranger's page from using a visitor's cookies.

/// Which origins are let in. Without the header everybody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Host and port of `Origin` equal those of `Host`.
    Same,
    /// Each of these, exactly as written.
    List(Vec<String>),
    /// Any.
    Any,
}

impl Origins {
    /// The list as configured: empty is same origin, `*` alone is any.
    pub fn from_list(list: Vec<String>) -> Self {
        match list.as_slice() {
            [] => Self::Same,
            [star] if star == "*" => Self::Any,
            _ => Self::List(list),
        }
    }

    /// Whether a request with these headers is let in. `loopback` also lets in pages of this machine and `null`
    /// (a page from a file): the development profile.
    pub(super) fn allow(&self, origin: &str, host: Option<&str>, loopback: bool) -> bool {
        if loopback
            && (origin == "null" || Authority::of_origin(origin).is_some_and(|authority| authority.is_loopback()))
        {
            return true;
        }
        match self {
            Self::Any => true,
            Self::List(list) => origin != "null" && list.iter().any(|allowed| allowed == origin),
            Self::Same => same(origin, host),
        }
    }
}

fn same(origin: &str, host: Option<&str>) -> bool {
    let (Some(origin), Some(host)) = (Authority::of_origin(origin), host) else { return false };
    // `Host` has no scheme; behind a proxy that ends TLS ours is not the client's either. So the origin's decides
    // what a missing port means.
    Authority::parse(host, origin.default_port).is_some_and(|host| origin == host)
}

/// A host and its port, explicit or by the scheme.
#[derive(Debug, Clone, Copy)]
struct Authority<'a> {
    host: &'a str,
    port: u16,
    default_port: u16,
}

impl PartialEq for Authority<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.host.eq_ignore_ascii_case(other.host) && self.port == other.port
    }
}

impl<'a> Authority<'a> {
    /// Reads `scheme://host[:port]`, of a scheme that pages have.
    fn of_origin(origin: &'a str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Self::parse(authority, default_port)
    }

    fn parse(text: &'a str, default_port: u16) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest),
            None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
            None if rest.is_empty() => default_port,
            None => return None,
        };
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\');
        (!host.is_empty() && host.bytes().all(plain)).then_some(Self { host, port, default_port })
    }

    fn is_loopback(&self) -> bool {
        let name = self.host.to_ascii_lowercase();
        name == "localhost"
            || name.ends_with(".localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(origins: &Origins, host: &str, loopback: bool, cases: &[(&str, bool)]) {
        for (origin, allowed) in cases {
            assert_eq!(origins.allow(origin, Some(host), loopback), *allowed, "{origin} on {host}");
        }
    }

    #[test]
    fn the_default_is_the_same_host_and_port() {
        check(
            &Origins::Same,
            "127.0.0.1:8080",
            false,
            &[
                ("http://127.0.0.1:8080", true),
                ("https://127.0.0.1:8080", true),
                ("http://127.0.0.1:8081", false),
                ("http://127.0.0.1", false),
                ("https://evil.example", false),
                ("http://127.0.0.1:8080.evil.example", false),
                ("http://127.0.0.1:8080@evil.example", false),
                ("http://evil.example/127.0.0.1:8080", false),
                ("http://127.0.0.1:8080/", false),
                ("ws://127.0.0.1:8080", false),
                ("chrome-extension://127.0.0.1:8080", false),
                ("null", false),
                ("", false),
                ("http://", false),
                ("http://127.0.0.1:", false),
                ("http://127.0.0.1:+8080", false),
                ("http://127.0.0.1:80800", false),
            ],
        );
    }

    #[test]
    fn a_missing_port_is_that_of_the_origins_scheme() {
        check(
            &Origins::Same,
            "App.example.com",
            false,
            &[
                ("https://app.example.com", true),
                ("https://app.example.com:443", true),
                ("http://app.example.com", true),
                ("http://app.example.com:443", false),
                ("https://app.example.com:8443", false),
            ],
        );
        check(&Origins::Same, "app.example.com:443", false, &[("https://app.example.com", true)]);
        check(&Origins::Same, "[::1]:8080", false, &[("http://[::1]:8080", true), ("http://[::1]", false)]);
        assert!(!Origins::Same.allow("http://a", None, false), "no Host to compare with");
    }

    #[test]
    fn a_list_is_exact_and_replaces_the_default() {
        let list = Origins::from_list(vec!["https://app.example.com".into(), "null".into()]);
        check(
            &list,
            "gateway:8080",
            false,
            &[
                ("https://app.example.com", true),
                ("http://app.example.com", false),
                ("https://app.example.com:443", false),
                ("https://app.example.com.evil.example", false),
                ("https://xapp.example.com", false),
                ("http://gateway:8080", false),
                ("null", false),
            ],
        );
        check(&Origins::from_list(vec!["*".into()]), "h", false, &[("https://x", true), ("null", true)]);
        assert_eq!(Origins::from_list(Vec::new()), Origins::Same);
    }

    #[test]
    fn development_lets_in_the_own_machine() {
        check(
            &Origins::Same,
            "127.0.0.1:8080",
            true,
            &[
                ("http://localhost:3000", true),
                ("https://app.localhost", true),
                ("http://127.0.0.2:1", true),
                ("http://[::1]:3000", true),
                ("null", true),
                ("http://localhost.evil.example", false),
                ("http://10.0.0.1", false),
                ("https://evil.example", false),
            ],
        );
    }
}
