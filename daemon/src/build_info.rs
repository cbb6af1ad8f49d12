//! What this binary was built from.

use prometheus::{IntGauge, Opts, Registry};

/// The version, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The revision it was built from, where the build told (`HOLDFAST_BUILD_REVISION`).
pub const REVISION: &str = match option_env!("HOLDFAST_BUILD_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// One line for `--version`.
pub fn describe() -> String {
    format!("{VERSION} (revision {REVISION})")
}

/// Registers `holdfast_<service>_build_info`, always 1.
///
/// # Errors
/// Where it is registered already.
pub fn register(service: &str, registry: &Registry) -> Result<(), prometheus::Error> {
    let options = Opts::new(format!("holdfast_{service}_build_info"), "What this process was built from; always 1.")
        .const_label("version", VERSION)
        .const_label("revision", REVISION);
    let gauge = IntGauge::with_opts(options)?;
    gauge.set(1);
    registry.register(Box::new(gauge))
}
