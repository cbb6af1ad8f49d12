//! The command line of a service: a subcommand, `--config FILE`, and any setting as `--key value`.
//!
//! Knows no table: whether a key exists is checked with the other layers.

use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Run,
    Check,
    Print,
    Default,
    Markdown,
    Metrics,
    Healthcheck,
    Help,
    Version,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) command: Command,
    pub(super) file: Option<PathBuf>,
    pub(super) flags: Vec<(String, String)>,
    /// What `healthcheck` asks, where it is not this service's own settings that say it.
    pub(super) url: Option<String>,
}

/// Reads the arguments after the program's name.
pub(super) fn parse(arguments: &[String]) -> Result<CommandLine, String> {
    let mut line = CommandLine { command: Command::Run, file: None, flags: Vec::new(), url: None };
    let mut words: Vec<&str> = Vec::new();
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.strip_prefix("--") else {
            match argument {
                "-h" => line.command = Command::Help,
                "-V" => line.command = Command::Version,
                word => words.push(word),
            }
            continue;
        };
        match flag {
            "help" => line.command = Command::Help,
            "version" => line.command = Command::Version,
            _ => {
                let (name, value) = match flag.split_once('=') {
                    Some((name, value)) => (name, value),
                    None => (flag, rest.next().ok_or_else(|| format!("--{flag}: a value is missing"))?),
                };
                if name == "config" {
                    line.file = Some(PathBuf::from(value));
                } else {
                    line.flags.push((name.to_owned(), value.to_owned()));
                }
            }
        }
    }
    if line.command == Command::Run {
        line.command = command_of(&words)?;
        if line.command == Command::Healthcheck {
            line.url = words.get(1).map(|url| (*url).to_owned());
        }
    }
    Ok(line)
}

fn command_of(words: &[&str]) -> Result<Command, String> {
    match words {
        [] | ["run"] => Ok(Command::Run),
        ["help"] => Ok(Command::Help),
        ["version"] => Ok(Command::Version),
        ["healthcheck"] | ["healthcheck", _] => Ok(Command::Healthcheck),
        ["config", "check"] => Ok(Command::Check),
        ["config", "print"] => Ok(Command::Print),
        ["config", "default"] => Ok(Command::Default),
        ["config", "markdown"] => Ok(Command::Markdown),
        ["config", "metrics"] => Ok(Command::Metrics),
        ["config"] => Err("config: say check, print, default, markdown or metrics".to_owned()),
        words => Err(format!("{:?} is no command; try --help", words.join(" "))),
    }
}
