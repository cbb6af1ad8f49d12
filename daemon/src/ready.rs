//! The one line on stdout that tells that a process is ready and where it listens.
//!
//! Tests and supervisors start processes on port 0 and read the ports from here.

use serde::Serialize;
use std::io::{self, Write};
use std::net::SocketAddr;

/// What the line says; addresses are those really bound.
#[derive(Debug, Clone, Serialize)]
pub struct Ready<'a> {
    /// `gateway` or `router`.
    pub service: &'a str,
    /// This incarnation's id.
    pub node: &'a str,
    /// The public listener, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// A second public listener with TLS, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_tls: Option<SocketAddr>,
    /// The listener for back ends, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_relay: Option<SocketAddr>,
    /// The admin listener.
    pub admin: SocketAddr,
}

#[derive(Serialize)]
struct Line<'a> {
    ready: bool,
    #[serde(flatten)]
    what: &'a Ready<'a>,
}

impl Ready<'_> {
    /// The line, with its end.
    fn line(&self) -> io::Result<String> {
        let mut text = serde_json::to_string(&Line { ready: true, what: self })?;
        text.push('\n');
        Ok(text)
    }

    /// Prints the line, and tells the service manager. To be called once, when the process serves.
    ///
    /// # Errors
    /// Where stdout is gone.
    pub fn announce(&self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(self.line()?.as_bytes())?;
        let written = stdout.flush();
        crate::notify::ready();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_one_json_object_with_the_bound_addresses() {
        let listen = Some(SocketAddr::from(([127, 0, 0, 1], 41001)));
        let admin = SocketAddr::from(([127, 0, 0, 1], 41002));

        let ready = Ready { service: "gateway", node: "n1", listen, listen_tls: None, listen_relay: None, admin };

        assert_eq!(
            ready.line().expect("serializes"),
            "{\"ready\":true,\"service\":\"gateway\",\"node\":\"n1\",\
             \"listen\":\"127.0.0.1:41001\",\"admin\":\"127.0.0.1:41002\"}\n"
        );
    }
}
