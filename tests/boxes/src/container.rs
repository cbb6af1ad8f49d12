//! One part on the stage: a process with files, user, name and network of its own, as its file asks for.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use holdfast_harness::process::Process;
use holdfast_harness::wait::{eventually, within};
use serde_json::Value;

use crate::stage::{self, Place, Stage};

/// What programs of this machine need of it; `/usr/local` stays free for files.
const MACHINE: [&str; 6] = ["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/share", "/usr/libexec"];

/// Lines shown of each container when a test fails.
const LINES_SHOWN: usize = 20;

/// What a container starts from.
#[derive(Debug, Clone)]
pub(crate) enum Root {
    /// This folder, read-only.
    Folder(PathBuf),
    /// The programs of this machine, read-only: for those of others, whose images are not here.
    Machine,
}

/// A file or folder put into it.
#[derive(Debug, Clone)]
pub(crate) enum Mount {
    /// As it is, read-only.
    Read(PathBuf, String),
    /// As it is, to be written to.
    Write(PathBuf, String),
    /// A new one in memory.
    Memory(String),
}

impl Mount {
    fn target(&self) -> &str {
        match self {
            Self::Read(_, to) | Self::Write(_, to) | Self::Memory(to) => to,
        }
    }
}

/// What a container is made of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Its name in its own eyes, and in messages.
    pub(crate) name: String,
    /// What it starts from.
    pub(crate) root: Root,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Its variables, all of them.
    pub(crate) variables: Vec<(String, String)>,
    /// Its files.
    pub(crate) mounts: Vec<Mount>,
    /// User and group, by number.
    pub(crate) user: (u32, u32),
    /// Where names are looked for.
    pub(crate) search: String,
}

/// A running, or ended, container.
#[derive(Debug)]
pub(crate) struct Container {
    plan: Plan,
    place: Place,
    process: Process,
    pid: String,
}

impl Container {
    /// Starts it at this place.
    ///
    /// # Errors
    /// Its root cannot be made, or it ends at once.
    pub(crate) async fn start(stage: &Stage, place: &Place, plan: Plan) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix(&plan.name).tempdir_in(stage.folder())?.keep();
        let root = make_root(&plan, &scratch)?;
        let about = scratch.join("about");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &place.namespace]);
        // The shell only opens the file in which bwrap tells the process id.
        command.args(["sh", "-c", "exec bwrap --info-fd 3 \"$@\" 3>\"$0\""]).arg(&about);
        command.args(["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1"]);
        command.args(["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", &plan.name]);
        command.args(["--uid", &plan.user.0.to_string(), "--gid", &plan.user.1.to_string()]);
        command.arg("--ro-bind").arg(&root).arg("/").args(["--proc", "/proc", "--dev", "/dev"]);
        if matches!(plan.root, Root::Machine) {
            for folder in MACHINE {
                command.args(["--ro-bind-try", folder, folder]);
            }
        }
        let mut resolver = format!("nameserver {}\n", stage::HOST);
        if !plan.search.is_empty() {
            resolver.push_str(&format!("search {}\noptions ndots:5\n", plan.search));
        }
        for (name, text) in
            [("resolv.conf", resolver), ("hosts", format!("127.0.0.1 localhost\n{} {}\n", place.address, plan.name))]
        {
            let file = scratch.join(name);
            fs::write(&file, text)?;
            command.arg("--ro-bind").arg(file).arg(format!("/etc/{name}"));
        }
        for mount in &plan.mounts {
            match mount {
                Mount::Read(from, to) => command.arg("--ro-bind").arg(from).arg(to),
                Mount::Write(from, to) => command.arg("--bind").arg(from).arg(to),
                Mount::Memory(to) => command.args(["--tmpfs", to]),
            };
        }
        command.args([
            "--clearenv",
            "--setenv",
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ]);
        command.args(["--setenv", "HOSTNAME", &plan.name]);
        for (name, value) in &plan.variables {
            command.args(["--setenv", name, value]);
        }
        command.arg("--").args(&plan.command);
        let process = Process::spawn(&plan.name, command);
        let pid = eventually(&format!("{} is started", plan.name), async || {
            let told = fs::read(&about).ok().and_then(|told| serde_json::from_slice::<Value>(&told).ok());
            match (told, process.end()) {
                (Some(about), end) => {
                    let pid = about["child-pid"].to_string();
                    // Until then it is bwrap, with other rights.
                    let own = fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() != "bwrap");
                    if own || end.is_some() { Ok(Some(pid)) } else { Err("bwrap prepares it".to_owned()) }
                }
                (None, Some(_)) => Ok(None),
                (None, None) => Err("bwrap has not told its process id".to_owned()),
            }
        })
        .await;
        // Whoever waits for its end learns how it ended.
        let pid = pid.unwrap_or_default();
        Ok(Self { plan, place: place.clone(), process, pid })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// Where it listens on this port.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.place.address, port))
    }

    /// Sends a signal by its name to its first process.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        stage::command("sh", &["-c", &format!("kill -{signal} {}", self.pid)]).map(drop)
    }

    /// Runs a program in it, as an engine's `exec`.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn exec(&self, command: &[String]) -> Result<String> {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &self.pid, "--user", "--mount", "--net", "--pid", "--root", "--wd"]);
        enter.args(["--preserve-credentials", "--"]).args(command);
        enter.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        stage::run(&mut enter).with_context(|| format!("in {}", self.name()))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it does not in that time.
    pub(crate) async fn ended(&self, patience: Duration) -> ExitStatus {
        within(patience, &format!("{} ends", self.name()), async || {
            self.process.end().ok_or_else(|| format!("it runs; {}", self.process.tail(5)))
        })
        .await
    }

    /// Whether it runs.
    pub(crate) fn runs(&self) -> bool {
        self.process.end().is_none()
    }

    /// What it said.
    pub(crate) fn said(&self) -> String {
        self.process.output()
    }

    /// What it has said so far, while it runs.
    pub(crate) fn said_so_far(&self) -> String {
        self.process.tail(1000)
    }

    /// Its first process, as we see it.
    pub(crate) fn pid(&self) -> &str {
        &self.pid
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }

    /// A new one with the same plan, at the same place.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub(crate) async fn again(&self, stage: &Stage) -> Result<Self> {
        Self::start(stage, &self.place, self.plan.clone()).await
    }
}

impl Drop for Container {
    /// What it said last, where a test has failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let state = if self.runs() { "runs" } else { "has ended" };
            crate::say(&format!("--- {} {state}:\n{}", self.name(), self.process.tail(LINES_SHOWN)));
        }
    }
}

/// Runs a container that ends by itself.
///
/// # Errors
/// It cannot be started, or fails; the error holds what it said.
pub(crate) async fn once(stage: &Stage, place: &Place, plan: Plan) -> Result<String> {
    let name = plan.name.clone();
    let container = Container::start(stage, place, plan).await?;
    let status = container.ended(Duration::from_secs(60)).await;
    ensure!(status.success(), "{name}: {status}: {}", container.said());
    Ok(container.said())
}

/// A copy of the root, with a place for each mount: the root itself is read-only later.
fn make_root(plan: &Plan, scratch: &Path) -> Result<PathBuf> {
    let root = scratch.join("root");
    match &plan.root {
        // Hard links: the same bytes, no second copy.
        Root::Folder(folder) => {
            stage::run(Command::new("cp").arg("-al").arg(folder).arg(&root))?;
        }
        Root::Machine => {
            for folder in MACHINE {
                fs::create_dir_all(root.join(folder.trim_start_matches('/')))?;
            }
            for link in ["bin", "sbin", "lib", "lib64"] {
                symlink(format!("usr/{link}"), root.join(link))?;
            }
            fs::create_dir_all(root.join("etc"))?;
            fs::write(root.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
            let users =
                format!("root:x:0:0::/:/\nnobody:x:65534:65534::/:/\npart:x:{}:{}::/:/\n", plan.user.0, plan.user.1);
            fs::write(root.join("etc/passwd"), users)?;
            fs::write(root.join("etc/group"), format!("root:x:0:\nnogroup:x:65534:\npart:x:{}:\n", plan.user.1))?;
        }
    }
    for folder in ["proc", "dev", "etc"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let files = plan.mounts.iter().map(|mount| {
        let file = matches!(mount, Mount::Read(from, _) | Mount::Write(from, _) if from.is_file());
        (mount.target().to_owned(), file)
    });
    let own = ["/etc/hosts", "/etc/resolv.conf"].map(|path| (path.to_owned(), true));
    for (target, file) in files.chain(own) {
        let path = root.join(target.trim_start_matches('/'));
        if file {
            fs::create_dir_all(path.parent().context("a folder")?)?;
            if !path.exists() {
                fs::write(&path, "")?;
            }
        } else {
            fs::create_dir_all(&path)?;
        }
    }
    Ok(root)
}
