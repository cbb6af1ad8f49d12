//! `holdfast`: the command line of a fleet. Speaks the public contract only, so it does nothing that another
//! program with a NATS client could not do; `admin` alone asks one process by HTTP. Parses, runs one command, and ends with its status.

mod admin;
mod args;
mod bus;
mod connect;
mod ctl;
mod demo_service;
mod doctor;
mod epoch;
mod exit;
mod output;
mod query;
mod send;
mod token;
mod watch;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure, Outcome};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::from(error)),
    };
    let outcome = runtime.block_on(run(cli));
    // A thread may still be parked on standard input: it must not hold the process.
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => report(&failure),
    }
}

async fn run(cli: Cli) -> Outcome {
    let Cli { global, command } = cli;
    match command {
        Command::Send(args) => send::run(&global, args).await,
        Command::Ctl(args) => ctl::run(&global, args).await,
        Command::Query(args) => query::run(&global, args).await,
        Command::Watch(args) => watch::run(&global, args).await,
        Command::Connect(args) => connect::run(&global, args).await,
        Command::Doctor(args) => doctor::run(&global, args).await,
        Command::Admin(args) => admin::run(&global, args).await,
        Command::Token(args) => token::run(&global, args),
        Command::DemoService(args) => demo_service::run(&global, args).await,
    }
}

fn report(failure: &Failure) -> ExitCode {
    let broken_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if failure.error.downcast_ref::<io::Error>().is_some_and(broken_pipe) {
        return Exit::Done.into();
    }
    output::note(&format!("holdfast: {}", exit::chain(&failure.error)));
    failure.exit.into()
}
