//! Settings of SockJS. Off unless a path is named.

use holdfast_daemon::settings;

settings! {
    /// SockJS, for front ends that connect by sockjs-client.
    pub struct SockJsSettings {
        /// Base paths at which SockJS is spoken beside plain WebSocket (`/ws`, or `/ws,/ws/chat`), each at the endpoint
        /// that the path stands for; its URLs win over `/ws/**`. Empty means off.
        pub paths: Vec<String> = "",
    }
}
