//! Sends signals, and ends every child when we are gone, whatever ended us.
//!
//! A `sh` reads our pipe: each line names a process group to watch or to signal, and when the pipe closes it kills
//! what it watches. Needs neither `unsafe` nor a platform's own "die with parent".

use anyhow::{Context, Result};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};

const SCRIPT: &str = r#"
ids=""
while read -r what id; do
    case $what in
    watch) ids="$ids $id" ;;
    *) kill -s "$what" -- "-$id" 2>/dev/null ;;
    esac
done
for id in $ids; do kill -s KILL -- "-$id" 2>/dev/null; done
"#;

/// The shell's pipe; dropping it kills what is watched.
pub(super) struct Leash(ChildStdin);

impl Leash {
    pub(super) fn new() -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own: Ctrl-C is for us, and must not end what cleans up after us.
        let shell = shell.process_group(0).spawn().context("cannot run sh")?;
        shell.stdin.map(Self).context("sh has no standard input")
    }

    /// A process group, by its leader, to be killed with us.
    pub(super) fn watch(&mut self, id: u32) {
        self.tell("watch", id);
    }

    /// Sends a signal to a process group.
    pub(super) fn signal(&mut self, id: u32, signal: &str) {
        self.tell(signal, id);
    }

    fn tell(&mut self, what: &str, id: u32) {
        // Without the shell, nothing can be done; the children's ends are watched in any case.
        drop(writeln!(self.0, "{what} {id}"));
    }
}
