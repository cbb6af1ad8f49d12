//! Settings: declared once, layered defaults < file < environment < flags, checked all at once.
//!
//! A service declares its settings as structs, one line each, and everything else follows from the declaration:
//! parsing, `config check`, `config print` (with each value's origin), `config default` and `docs/config.md`.
//!
//! ```
//! use holdfast_daemon::config::{self, ByteSize, Problems, Secret, Service};
//! use std::{net::SocketAddr, time::Duration};
//!
//! holdfast_daemon::choices! {
//!     /// What happens to a client that reads too slowly.
//!     pub enum SlowPolicy { Close = "close", DropOldest = "drop-oldest" }
//! }
//!
//! holdfast_daemon::settings! {
//!     /// The public listener.
//!     pub struct ListenSettings {
//!         /// Address and port clients connect to.
//!         pub address: SocketAddr = "127.0.0.1:8080",
//!         /// Allow plaintext elsewhere than on loopback.
//!         pub plaintext: bool = "false",
//!     }
//! }
//!
//! holdfast_daemon::settings! {
//!     /// All settings of the example service.
//!     pub struct ExampleSettings {
//!         /// The NATS connection.
//!         pub bus: holdfast_daemon::bus::BusSettings,
//!         /// The public listener.
//!         pub listen: ListenSettings,
//!         /// Browser origins that may connect; `*` alone means any.
//!         pub origins: Vec<String> = "",
//!         /// The most a client's queue may hold.
//!         pub outbox_bytes_max: ByteSize = "1MiB",
//!         /// How long a message may wait in it.
//!         pub outbox_age_max: Duration = "30s",
//!         /// What then happens.
//!         pub slow: SlowPolicy = "close",
//!         /// A secret may come from a file too: `secret_file`.
//!         pub secret: Option<Secret>,
//!         /// No default and no `Option`: a required setting.
//!         pub region: String,
//!     }
//! }
//!
//! fn rules(settings: &ExampleSettings, problems: &mut Problems) {
//!     if settings.outbox_age_max.is_zero() {
//!         problems.add("outbox_age_max", "must be longer than zero");
//!     }
//! }
//!
//! const SERVICE: Service<ExampleSettings> = Service {
//!     name: "example",
//!     about: "Shows how settings are declared.",
//!     foreign: &["auth", "roster.linger"], // keys and sections of other services in a shared file
//!     rules,
//!     metrics: || Ok(prometheus::Registry::new()),
//! };
//!
//! let environment = [("HOLDFAST_REGION", "eu"), ("HOLDFAST_LISTEN__ADDRESS", "127.0.0.1:0")];
//! let loaded = config::load(&SERVICE, None, environment.map(|(k, v)| (k.into(), v.into())), &[]).unwrap();
//! assert_eq!(loaded.settings.listen.address.port(), 0);
//! assert_eq!(loaded.settings.outbox_bytes_max.get(), 1 << 20);
//! ```
//!
//! `main` calls [`start()`], which answers `--help`, `--version` and `config …` itself:
//!
//! ```no_run
//! # use holdfast_daemon::config::{self, Problems, Service, Start};
//! # use std::process::ExitCode;
//! # holdfast_daemon::settings! { /// All.
//! #   pub struct Settings { /// Logs.
//! #     pub log: holdfast_daemon::logging::LogSettings } }
//! # const SERVICE: Service<Settings> = Service { name: "x", about: "", foreign: &[], rules: |_, _: &mut Problems| {}, metrics: || Ok(prometheus::Registry::new()) };
//! fn main() -> ExitCode {
//!     let loaded = match config::start(&SERVICE) {
//!         Start::Run(loaded) => loaded,
//!         Start::Exit(code) => return code,
//!     };
//!     // … logging::init(&loaded.settings.log), loaded.log_warnings(), build the process …
//!     ExitCode::SUCCESS
//! }
//! ```
//!
//! A section that may appear any number of times under names of the operator's choice is a
//! `BTreeMap<String, SectionSettings>` (`[endpoints.chat]`, `HOLDFAST_ENDPOINTS__CHAT__PATH`).
//!
//! Deliberately unaware of what the settings mean: rules between settings are the service's ([`Service::rules`]).

mod command_line;
mod field;
mod healthcheck;
mod layers;
mod render;
mod secret;
mod start;
mod table;
mod value;

pub use field::{Field, Reader};
pub use secret::Secret;
pub use start::{Loaded, Service, Start, load, start};
pub use table::{Entry, Key, Problem, Problems, Table};
pub use value::{ByteSize, Raw, Value};

/// Declares a struct of settings; see the [module](self) for an example.
///
/// Each field has a doc comment (its text is what `config default` and `docs/config.md` show) and, unless it is a
/// section, an `Option` or required, a default in the same text form as in the environment.
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[doc = $doc:literal])* $field_vis:vis $field:ident : $ty:ty $(= $default:literal)? ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $( $(#[doc = $doc])* $field_vis $field: $ty, )*
        }

        impl $crate::config::Field for $name {
            fn describe(key: &$crate::config::Key, doc: &str, _: Option<&str>, table: &mut $crate::config::Table) {
                table.section(key, doc);
                $( <$ty as $crate::config::Field>::describe(
                    &key.child(stringify!($field)),
                    concat!($($doc, "\n",)*),
                    $crate::settings!(@default $($default)?),
                    table,
                ); )*
            }

            fn read(
                key: &$crate::config::Key,
                _: Option<&str>,
                reader: &mut $crate::config::Reader<'_>,
            ) -> Option<Self> {
                $( let $field = <$ty as $crate::config::Field>::read(
                    &key.child(stringify!($field)),
                    $crate::settings!(@default $($default)?),
                    reader,
                ); )*
                Some(Self { $( $field: $field? ),* })
            }
        }
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

/// Declares an enum that is written as one of a few words; see the [module](self) for an example.
#[macro_export]
macro_rules! choices {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $word:literal ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name {
            $( $(#[$variant_meta])* #[doc = concat!("Written `", $word, "`.")] $variant, )*
        }

        impl $name {
            /// The word it is written as.
            $vis fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl $crate::config::Value for $name {
            const KIND: &'static str = $crate::choices!(@words $($word),*);

            fn parse(raw: &$crate::config::Raw) -> Result<Self, String> {
                match raw.text()? {
                    $( $word => Ok(Self::$variant), )*
                    other => Err(format!("{other:?} is none of: {}", Self::KIND)),
                }
            }
        }
    };
    (@words $first:literal $(, $rest:literal)*) => { concat!("`", $first, "`", $(" or `", $rest, "`",)*) };
}

#[cfg(test)]
mod tests;
