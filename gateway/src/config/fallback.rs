//! Settings of the native fallbacks. Off unless a path is named.

use holdfast_daemon::settings;

settings! {
    /// Dialect `json` over plain HTTP, for clients that get no WebSocket through.
    pub struct FallbackSettings {
        /// Paths of endpoints that can be reached so, below `<path>/_http/`; `/ws/**` stands for all below `/ws`. Empty
        /// means off.
        pub paths: Vec<String> = "",
    }
}
