//! URLs of SockJS and of the native fallbacks: any path is left alone, or is below a base path and names a session that
//! can be a key.
#![no_main]

use holdfast_gateway::fallback::{NativePage, NativePaths};
use holdfast_gateway::sockjs::{Found, Sites};
use libfuzzer_sys::fuzz_target;

const BASES: [&str; 3] = ["/ws", "/ws/chat", "/g"];

fuzz_target!(|input: (bool, &str)| {
    let (upgrade, path) = input;
    let path = format!("/{path}");
    let sites = Sites::new(BASES.map(str::to_owned).to_vec());
    match sites.find(&path, upgrade) {
        Some(Found::WebSocket { base, .. }) => assert!(BASES.contains(&base) && path.starts_with(base)),
        Some(Found::Session { base, session, .. }) => {
            assert!(BASES.contains(&base) && path.starts_with(base));
            assert!(!session.is_empty() && session.len() <= 64 && !session.contains(['.', '/']));
        }
        Some(Found::Page(_)) => assert!(path.starts_with("/ws") || path.starts_with("/g")),
        None => {}
    }
    let native = NativePaths::new(vec!["/ws".into(), "/games/**".into()]);
    if let Some((base, page)) = native.find(&path) {
        assert!(base == "/ws" || base == "/games" || base.starts_with("/games/"));
        if let NativePage::Receive(session, _) | NativePage::Send(session) = page {
            assert!(!session.contains('/'));
        }
    }
});
