//! Where clients connect, and whose word about their addresses is taken.

use std::net::{IpAddr, SocketAddr};

use holdfast_daemon::config::{Raw, Value};
use holdfast_daemon::{choices, settings};
use ipnet::IpNet;

use crate::admission::ForwardedBy;

choices! {
    /// Which header names the client behind a proxy.
    pub enum ForwardedHeader {
        /// `X-Forwarded-For`.
        XForwardedFor = "x_forwarded_for",
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
    }
}

/// A network: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub(crate) IpNet);

impl Value for Network {
    const KIND: &'static str = "a network like `10.0.0.0/8`, or an address";

    fn parse(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?;
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network.map(Self).ok_or_else(|| format!("{text:?} is not {}", <Self as Value>::KIND))
    }
}

settings! {
    /// Where clients connect.
    pub struct ListenSettings {
        /// Address and port for clients. With `tls.certificate` and without `listen.tls_address` it speaks TLS only.
        pub address: SocketAddr = "127.0.0.1:8080",
        /// A second address, for TLS; `listen.address` then speaks plaintext.
        pub tls_address: Option<SocketAddr>,
        /// Allow plaintext elsewhere than on loopback: something in front ends TLS.
        pub plaintext: bool = "false",
        /// Threads that hold connections; 0 is one per processor.
        pub shards: u16 = "0",
        /// Each connection begins with a head of the PROXY protocol, version 1 or 2, which names the client. For balancers
        /// alone: whoever can connect otherwise can name anybody.
        pub proxy_protocol: bool = "false",
        /// Proxies in front, as networks: what they say of a client's address is believed, and their own is not counted.
        pub trusted_proxies: Vec<Network> = "",
        /// The header in which they say it: the right-most address that is not one of theirs counts.
        pub forwarded_header: ForwardedHeader = "x_forwarded_for",
    }
}

impl ForwardedHeader {
    pub(super) const fn by(self) -> ForwardedBy {
        match self {
            Self::XForwardedFor => ForwardedBy::XForwardedFor,
            Self::Forwarded => ForwardedBy::Forwarded,
        }
    }
}
