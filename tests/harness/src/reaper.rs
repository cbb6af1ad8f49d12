//! Ends every process and removes every folder of this test process when it is gone, whatever ended it.
//!
//! A `sh` reads our pipe: it hears of each process group and folder, and when the pipe closes (we returned from
//! `main`, panicked, or were killed) it kills and removes what is left. Works wherever there is a shell, and needs
//! neither `unsafe` nor a platform's own "die with parent".

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// No `--` before the group: dash's `kill` takes it for a number.
const SCRIPT: &str = r#"
pids=" "; folders=""
while read -r what value; do
    case $what in
    watch) pids="$pids$value " ;;
    forget) case $pids in *" $value "*) pids="${pids%% "$value" *} ${pids#* "$value" }" ;; esac ;;
    folder) folders="$folders$value
" ;;
    esac
done
for pid in $pids; do kill -KILL "-$pid" 2>/dev/null; done
printf %s "$folders" | while read -r folder; do rm -rf -- "$folder"; done
"#;

/// A process group to be killed with us. Its id is that of its leader.
pub(crate) fn watch(pid: u32) {
    tell(&format!("watch {pid}"));
}

/// The process has ended and was waited for: its id may now be another's.
pub(crate) fn forget(pid: u32) {
    tell(&format!("forget {pid}"));
}

/// A folder to be removed with us.
pub(crate) fn folder(path: &Path) {
    tell(&format!("folder {}", path.display()));
}

fn tell(line: &str) {
    static SHELL: OnceLock<Mutex<Child>> = OnceLock::new();
    let shell = SHELL.get_or_init(|| {
        let mut shell = Command::new("sh");
        // Its own group: Ctrl-C ends the tests, and must not end what cleans up after them.
        shell.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Mutex::new(shell.spawn().expect("start sh, which cleans up after the tests"))
    });
    let mut shell = shell.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = shell.stdin.as_mut().expect("the shell's standard input is a pipe");
    writeln!(pipe, "{line}").expect("tell the shell that cleans up");
}
