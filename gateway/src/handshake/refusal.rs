//! The catalogue of handshakes that end in an HTTP status: what a stranger may learn, and no more.

use hyper::StatusCode;

use crate::metrics::Handshake;
use crate::net::Refused;

/// An answer in place of the upgrade. The body is plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpRefusal {
    /// The status.
    pub status: u16,
    /// Headers besides `Content-Type` and `Content-Length`.
    pub headers: &'static [(&'static str, &'static str)],
    /// One line of text.
    pub body: &'static str,
    /// The value of the metric label `reason`.
    pub label: &'static str,
}

const fn plain(status: u16, label: &'static str, body: &'static str) -> HttpRefusal {
    HttpRefusal { status, headers: &[], body, label }
}

impl HttpRefusal {
    /// Bad escapes, `//`, dot segments, or a name that is no key.
    pub const PATH: Self = plain(400, "path", "malformed path\n");
    /// No endpoint has this path.
    pub const NOT_FOUND: Self = plain(404, "not_found", "not found\n");
    /// The page that opened the connection is not one of ours.
    pub const ORIGIN: Self = plain(403, "origin", "origin not allowed\n");
    /// Malformed, or only unknown ones are offered.
    pub const SUBPROTOCOL: Self = plain(400, "subprotocol", "no known sub-protocol offered\n");
    /// A query parameter is malformed, given twice, or out of bounds.
    pub const QUERY: Self = plain(400, "query", "malformed query\n");
    /// Wrong, expired or unreadable.
    pub const CREDENTIAL: Self = Self {
        status: 401,
        headers: &[("www-authenticate", "Bearer")],
        body: "credential missing or not valid\n",
        label: "credential",
    };
    /// Good, but not for this.
    pub const FORBIDDEN: Self = plain(403, "forbidden", "not allowed\n");
    /// Nobody can decide, or serve the connection, now.
    pub const UNAVAILABLE: Self =
        Self { status: 503, headers: &[("retry-after", "2")], body: "temporarily unavailable\n", label: "unavailable" };
    /// Each of them, for counters that start at zero.
    pub const ALL: [Self; 8] = [
        Self::PATH,
        Self::NOT_FOUND,
        Self::ORIGIN,
        Self::SUBPROTOCOL,
        Self::QUERY,
        Self::CREDENTIAL,
        Self::FORBIDDEN,
        Self::UNAVAILABLE,
    ];
}

impl From<HttpRefusal> for Refused {
    fn from(refusal: HttpRefusal) -> Self {
        let counted = match (refusal.status, refusal.label) {
            (_, "origin") => Handshake::Origin,
            (401, _) => Handshake::Unauthorized,
            (403, _) => Handshake::Forbidden,
            (404, _) => Handshake::NotFound,
            (503, _) => Handshake::Unavailable,
            _ => Handshake::BadRequest,
        };
        Self {
            status: StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: refusal.headers.to_vec(),
            body: refusal.body,
            counted,
        }
    }
}
