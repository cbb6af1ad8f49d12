//! What destinations mean to clients that speak `stomp`: the settings, and what they become.

use holdfast_daemon::config::Problems;
use holdfast_daemon::settings;

use crate::handshake::{Destinations, check_prefix};

settings! {
    /// What destinations mean to clients that speak STOMP: prefixes of whole segments; the longest that fits counts.
    pub struct StompSettings {
        /// Domain services: SEND is a message to them, SUBSCRIBE a request.
        pub upstream: Vec<String> = "/app,/pub",
        /// Domain services: SEND is a request too, its answer comes to `/user/queue/<path>`.
        pub requests: Vec<String> = "",
        /// Rooms, named by what follows.
        pub rooms: Vec<String> = "/topic,/sub",
        /// Rooms, named by the whole destination.
        pub queues: Vec<String> = "/queue",
        /// The user's own messages.
        pub user: Vec<String> = "/user",
        /// Rooms to which clients may SEND: each member gets it. The gateway's NATS account must be allowed to.
        pub relay: Vec<String> = "",
        /// Rooms where a client's SEND goes to domain services, on the path of the whole destination.
        pub forward: Vec<String> = "",
    }
}

settings! {
    /// The same for one endpoint; what is unset is as in `stomp`.
    pub struct EndpointStompSettings {
        /// See `stomp.upstream`.
        pub upstream: Option<Vec<String>>,
        /// See `stomp.requests`.
        pub requests: Option<Vec<String>>,
        /// See `stomp.rooms`.
        pub rooms: Option<Vec<String>>,
        /// See `stomp.queues`.
        pub queues: Option<Vec<String>>,
        /// See `stomp.user`.
        pub user: Option<Vec<String>>,
        /// See `stomp.relay`.
        pub relay: Option<Vec<String>>,
        /// See `stomp.forward`.
        pub forward: Option<Vec<String>>,
    }
}

impl StompSettings {
    /// What they say for all endpoints.
    pub fn destinations(&self) -> Destinations {
        Destinations {
            upstream: self.upstream.clone(),
            requests: self.requests.clone(),
            rooms: self.rooms.clone(),
            queues: self.queues.clone(),
            user: self.user.clone(),
            relay: self.relay.clone(),
            forward: self.forward.clone(),
        }
    }

    pub(super) fn check(&self, key: &str, problems: &mut Problems) {
        check(&self.destinations(), key, problems);
    }
}

impl EndpointStompSettings {
    /// What they say over `common`.
    pub fn destinations(&self, common: Destinations) -> Destinations {
        let or = |own: &Option<Vec<String>>, common| own.clone().unwrap_or(common);
        Destinations {
            upstream: or(&self.upstream, common.upstream),
            requests: or(&self.requests, common.requests),
            rooms: or(&self.rooms, common.rooms),
            queues: or(&self.queues, common.queues),
            user: or(&self.user, common.user),
            relay: or(&self.relay, common.relay),
            forward: or(&self.forward, common.forward),
        }
    }

    pub(super) fn check(&self, key: &str, problems: &mut Problems) {
        let nothing = Destinations {
            upstream: Vec::new(),
            requests: Vec::new(),
            rooms: Vec::new(),
            queues: Vec::new(),
            user: Vec::new(),
            relay: Vec::new(),
            forward: Vec::new(),
        };
        check(&self.destinations(nothing), key, problems);
    }
}

fn check(destinations: &Destinations, key: &str, problems: &mut Problems) {
    let Destinations { upstream, requests, rooms, queues, user, relay, forward } = destinations;
    let lists = [
        ("upstream", upstream),
        ("requests", requests),
        ("rooms", rooms),
        ("queues", queues),
        ("user", user),
        ("relay", relay),
        ("forward", forward),
    ];
    for (name, list) in lists {
        for prefix in list {
            if let Err(why) = check_prefix(prefix) {
                problems.add(&format!("{key}.{name}"), format!("{prefix:?} {why}"));
            }
        }
    }
}
