//! The stage: a network of its own, names in it, and the roots that parts live in. Knows no part.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use holdfast_chart::repository;
use holdfast_harness::binaries;

use crate::Missing;
use crate::names::Names;

/// Where we are in the network, and its name server.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// What the network is called by `ip`.
const BRIDGE: &str = "stage";

/// One network, one scratch folder; ends with the process and its namespaces.
#[derive(Debug)]
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    names: Names,
    next_address: AtomicU8,
    next_service: AtomicU8,
}

/// A place in the network.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The network namespace, as `ip netns` knows it.
    pub(crate) namespace: String,
    /// Its address.
    pub(crate) address: Ipv4Addr,
}

impl Stage {
    /// Makes the network.
    ///
    /// # Errors
    /// A tool is missing, or the kernel refuses.
    pub(crate) fn new() -> Result<Self> {
        for tool in ["bwrap", "ip", "nsenter"] {
            if Command::new(tool).arg("--help").output().is_err() {
                return Err(Missing(format!("{tool} is not installed")).into());
            }
        }
        command("mount", &["--make-rprivate", "/"])?;
        // `ip netns` keeps its namespaces there.
        command("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
        command("ip", &["link", "set", "lo", "up"])?;
        let made = command("ip", &["link", "add", BRIDGE, "type", "bridge"]);
        if made.is_err() {
            return Err(Missing("this kernel makes no bridge".to_owned()).into());
        }
        command("ip", &["address", "add", &format!("{HOST}/16"), "dev", BRIDGE])?;
        command("ip", &["link", "set", BRIDGE, "up"])?;
        let stage = Self {
            folder: tempfile::tempdir().context("cannot make a temporary folder")?,
            names: Names::default(),
            next_address: AtomicU8::new(10),
            next_service: AtomicU8::new(1),
        };
        stage.names.serve(SocketAddr::from((HOST, 53)))?;
        Ok(stage)
    }

    /// Files that parts are given, below one folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Who is called what.
    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// A new place in the network, named so.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn place(&self, name: &str) -> Result<Place> {
        let number = self.next_address.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::new(10, 77, 0, number);
        let namespace = format!("n{number}");
        let link = format!("v{number}");
        command("ip", &["netns", "add", &namespace])?;
        command("ip", &["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
        command("ip", &["link", "set", &link, "master", BRIDGE, "up"])?;
        let inside = ["-n", &namespace];
        command("ip", &[&inside[..], &["link", "set", "lo", "up"]].concat())?;
        let with_mask = format!("{address}/16");
        command("ip", &[&inside[..], &["address", "add", &with_mask, "dev", "eth0"]].concat())?;
        command("ip", &[&inside[..], &["link", "set", "eth0", "up"]].concat())?;
        command("ip", &[&inside[..], &["route", "add", "default", "via", &HOST.to_string()]].concat())?;
        // As container engines do it: ports below 1024 are anybody's.
        let open = "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start";
        command("ip", &["netns", "exec", &namespace, "sh", "-c", open])?;
        self.names.add(name, address);
        Ok(Place { namespace, address })
    }

    /// An address of our own in the network, for what balances over several parts.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn service_address(&self) -> Result<Ipv4Addr> {
        let address = Ipv4Addr::new(10, 77, 1, self.next_service.fetch_add(1, Ordering::Relaxed));
        command("ip", &["address", "add", &format!("{address}/32"), "dev", BRIDGE])?;
        Ok(address)
    }

    /// The file system of the image, made by the script that makes it for the image.
    ///
    /// # Errors
    /// The script fails.
    pub(crate) fn image(&self) -> Result<PathBuf> {
        let root = self.folder().join("image");
        if !root.exists() {
            let script = repository::path("deploy/image/rootfs.sh");
            let mut make = Command::new(script);
            make.arg(&root);
            for program in ["holdfast-gateway", "holdfast-router", "holdfast"] {
                make.arg(binaries::holdfast(program));
            }
            run(&mut make)?;
        }
        Ok(root)
    }

    /// A root with this one program, which needs nothing else.
    ///
    /// # Errors
    /// It cannot be copied.
    pub(crate) fn root_of(&self, program: &Path, name: &str) -> Result<PathBuf> {
        let root = self.folder().join(format!("only-{name}"));
        if !root.exists() {
            fs::create_dir_all(root.join("usr/local/bin"))?;
            fs::copy(program, root.join("usr/local/bin").join(name))?;
        }
        Ok(root)
    }
}

/// Runs a command that must succeed.
///
/// # Errors
/// It does not; the error holds what it said.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Result<String> {
    run(Command::new(program).args(arguments))
}

/// The same with a command that is ready.
///
/// # Errors
/// It fails; the error holds what it said.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{command:?}: {}", String::from_utf8_lossy(&said).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A variable that says where programs are.
#[expect(clippy::disallowed_methods, reason = "where programs are is set from outside")]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// A program of this machine, where it is installed.
///
/// # Errors
/// It is not.
pub(crate) fn installed(program: &str) -> Result<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    let found = found.or_else(|| Some(Path::new("/usr/sbin").join(program)).filter(|path| path.is_file()));
    found.ok_or_else(|| Missing(format!("{program} is not installed")).into())
}

/// Fails with a sentence where the fact does not hold.
///
/// # Errors
/// It does not.
pub(crate) fn must(fact: bool, what: &str) -> Result<()> {
    ensure!(fact, "{what}");
    Ok(())
}
