//! The gateway's process: settings, log, limits, and the exit code. All else is `app`'s.

use std::process::ExitCode;

use holdfast_daemon::config::{Start, start};
use holdfast_daemon::logging::{self, chain};
use holdfast_daemon::{fd_limit, huge_pages};
use holdfast_gateway::{app, config};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything is allocated in earnest.
    huge_pages::avoid();
    let loaded = match start(&config::SERVICE) {
        Start::Run(loaded) => loaded,
        Start::Exit(code) => return code,
    };
    let node = app::node_id();
    let telemetry = match logging::init("gateway", node.as_str(), &loaded.settings.log, &loaded.settings.trace) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            tracing::error!(error = %chain(&error), "Cannot export spans");
            return ExitCode::FAILURE;
        }
    };
    loaded.log_warnings();
    match fd_limit::raise() {
        Some(limit) => tracing::info!(limit, "File descriptors"),
        None => tracing::warn!("Cannot raise the limit of file descriptors"),
    }
    let ended = app::run(node, &loaded);
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %chain(&error), "The gateway ends");
            ExitCode::FAILURE
        }
    };
    drop(telemetry);
    code
}
