//! From a command line to settings: merges the layers, collects every problem, answers `config …` itself.

use super::command_line::{Command, parse};
use super::field::{Field, Reader, Shown};
use super::table::{Key, Problem, Problems, Table};
use super::{healthcheck, layers, render};
use crate::catalogue;
use figment::Figment;
use prometheus::Registry;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a service tells about its settings.
#[derive(Debug, Clone, Copy)]
pub struct Service<S> {
    /// As in the binary's name: `holdfast-<name>`.
    pub name: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
    /// Keys and sections of other services that may stand in a shared file, such as `auth` or `roster.linger`.
    pub foreign: &'static [&'static str],
    /// Rules between settings; asked only where each by itself is right.
    pub rules: fn(&S, &mut Problems),
    /// Every metric it has, at zero: for `config metrics`.
    pub metrics: fn() -> prometheus::Result<Registry>,
}

/// Settings, checked, and what to say about where they came from.
#[derive(Debug, Clone)]
pub struct Loaded<S> {
    /// The settings.
    pub settings: S,
    warnings: Vec<String>,
    shown: Vec<Shown>,
    file: Option<PathBuf>,
    flags: Vec<(String, String)>,
}

impl<S> Loaded<S> {
    /// The file they came from, where there was one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the same file, environment and flags again.
    ///
    /// # Errors
    /// Everything that is wrong now, at once.
    pub fn again(&self, service: &Service<S>) -> Result<Self, Problems>
    where
        S: Field,
    {
        load(service, self.file(), std::env::vars_os(), &self.flags)
    }

    /// What is odd but stops nothing: environment variables of ours that nobody knows.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Logs the warnings; to be called once the log is set up.
    pub fn log_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!(%warning, "Settings are odd");
        }
    }

    /// Where this process would have its admin listener, if it has that setting.
    fn admin_address(&self) -> Option<SocketAddr> {
        let shown = self.shown.iter().find(|shown| shown.key.to_string() == "admin.address")?;
        shown.text.as_ref()?.parse().ok()
    }

    /// Each setting with its value and origin, as `config print` shows them; secrets redacted.
    pub fn print(&self) -> String {
        render::print(&self.shown)
    }
}

/// What `main` does next.
#[derive(Debug)]
pub enum Start<S> {
    /// Run with these settings.
    Run(Loaded<S>),
    /// Everything asked for is done, or refused and told.
    Exit(ExitCode),
}

/// The exit code of a start refused for its settings or its command line (`EX_USAGE`).
const EXIT_USAGE: u8 = 64;

/// The exit code of a `config check` that found something, and of a `healthcheck` of what is not ready.
const EXIT_CHECK_FAILED: u8 = 1;

/// Reads the process's own command line, environment and file.
///
/// Answers `--help`, `--version`, `healthcheck` and `config check|print|default|markdown|metrics` on stdout; errors, each with its key and
/// origin, go to stderr.
pub fn start<S: Field>(service: &Service<S>) -> Start<S> {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let table = table::<S>();
    let parsed = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(what) => return refuse(service, &what, EXIT_USAGE),
    };
    let text = match parsed.command {
        Command::Help => render::help(service.name, service.about, &table),
        Command::Version => format!("holdfast-{} {}\n", service.name, crate::build_info::describe()),
        Command::Default => render::default(service.name, &table),
        Command::Markdown => render::markdown(service.name, &table),
        Command::Metrics => match (service.metrics)() {
            Ok(registry) => catalogue::markdown(service.name, &registry),
            Err(error) => return refuse(service, &error.to_string(), EXIT_CHECK_FAILED),
        },
        Command::Run | Command::Check | Command::Print | Command::Healthcheck => String::new(),
    };
    if !text.is_empty() {
        return answer(&text);
    }
    if let (Command::Healthcheck, Some(url)) = (parsed.command, &parsed.url) {
        return tell_health(service, url);
    }
    let loaded = load(service, parsed.file.as_deref(), std::env::vars_os(), &parsed.flags);
    match (loaded, parsed.command) {
        (Ok(loaded), Command::Healthcheck) => match loaded.admin_address() {
            Some(admin) => tell_health(service, &healthcheck::url_of(admin)),
            None => refuse(service, "this service has no admin listener; name a URL", EXIT_USAGE),
        },
        (Ok(loaded), Command::Run) => Start::Run(loaded),
        (Ok(loaded), Command::Print) => answer(&loaded.print()),
        (Ok(loaded), _) => {
            let warnings = loaded.warnings.iter().map(|warning| format!("warning: {warning}\n"));
            answer(&format!("{}The settings are good.\n", warnings.collect::<String>()))
        }
        (Err(problems), Command::Check) => refuse(service, &problems.to_string(), EXIT_CHECK_FAILED),
        (Err(problems), _) => refuse(service, &problems.to_string(), EXIT_USAGE),
    }
}

fn tell_health<S>(service: &Service<S>, url: &str) -> Start<S> {
    match healthcheck::ask(url) {
        Ok(said) => answer(&said),
        Err(what) => refuse(service, &what, EXIT_CHECK_FAILED),
    }
}

fn answer<S>(text: &str) -> Start<S> {
    // A reader that went away (`| head`) is no failure of ours.
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    Start::Exit(if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn refuse<S>(service: &Service<S>, what: &str, code: u8) -> Start<S> {
    let lines = what.lines().map(|line| format!("holdfast-{}: {line}\n", service.name));
    // Nothing is left to tell where stderr is gone.
    drop(std::io::stderr().lock().write_all(lines.collect::<String>().as_bytes()));
    Start::Exit(ExitCode::from(code))
}

/// The declarations of a service's settings.
pub(super) fn table<S: Field>() -> Table {
    let mut table = Table::default();
    S::describe(&Key::root(), "", None, &mut table);
    table
}

/// Merges defaults, a file, environment and flags (`("listen.address", "…")`), and checks everything.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load<S: Field>(
    service: &Service<S>,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[(String, String)],
) -> Result<Loaded<S>, Problems> {
    let table = table::<S>();
    let mut problems = Problems::default();
    let mut warnings = Vec::new();
    let mut merged = Figment::new();
    if let Some(path) = file {
        merged = merged.merge(layers::file(path, &table, service.foreign, &mut problems));
    }
    merged = merged.merge(layers::environment(environment, &table, service.foreign, &mut problems, &mut warnings));
    merged = merged.merge(layers::flags(flags, &table, &mut problems));

    let mut reader = Reader::new(&merged);
    let settings = S::read(&Key::root(), None, &mut reader);
    let (wrong, shown) = reader.finish();
    wrong.iter().cloned().for_each(|problem| problems.push(problem));
    match settings {
        Some(settings) => {
            (service.rules)(&settings, &mut problems);
            let (file, flags) = (file.map(Path::to_owned), flags.to_vec());
            if problems.is_empty() { Ok(Loaded { settings, warnings, shown, file, flags }) } else { Err(problems) }
        }
        None if problems.is_empty() => {
            let what = "a setting could not be read".to_owned();
            problems.push(Problem { key: Key::root(), origin: None, what });
            Err(problems)
        }
        None => Err(problems),
    }
}
