//! The binary `holdfast-router`.

use std::process::ExitCode;

use holdfast_daemon::config::{self, Start};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match config::start(&holdfast_router::config::SERVICE) {
        Start::Run(loaded) => holdfast_router::app::main(&loaded),
        Start::Exit(code) => code,
    }
}
