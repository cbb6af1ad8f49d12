//! The settings of a gateway or router, looked at by the program itself, and the certificates that they name.
//!
//! Reads no settings by itself: `config check` and `config print` are the services' own, so what they say is what a start
//! would find.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use x509_parser::pem::Pem;

use super::{Finding, bad, good, note};

/// Certificates that end sooner are told.
const EXPIRY_NOTE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Settings that name certificates.
const CERTIFICATES: [&str; 3] = ["tls.certificate", "bus.tls.certificate", "bus.tls.authorities"];

/// What is wrong with a file of settings, as the program that reads it says.
pub(super) fn look(program: &str, file: &Path, now_s: i64) -> Vec<Finding> {
    let found = match run(program, file, "check") {
        Ok(found) => found,
        Err(error) => {
            let said = format!("cannot run {program}: {error}");
            return vec![note("configuration", said, format!("install {program} beside holdfast, or in the PATH"))];
        }
    };
    let mut findings = Vec::new();
    if found.good {
        findings.push(good("configuration", format!("{} is good for {program}", file.display())));
    } else {
        let lines = found.said.lines().filter(|line| !line.trim().is_empty());
        findings.extend(lines.map(|line| bad("configuration", line, format!("see docs/config.md; {program} --help"))));
    }
    let printed = run(program, file, "print").map(|printed| printed.said).unwrap_or_default();
    for (key, path) in certificates(&printed) {
        findings.extend(certificate(&key, &path, now_s));
    }
    findings
}

struct Said {
    good: bool,
    said: String,
}

/// Beside this program, else by the PATH.
fn run(program: &str, file: &Path, what: &str) -> std::io::Result<Said> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(program)).filter(|path| path.is_file());
    let program = beside.as_deref().map_or(OsStr::new(program), Path::as_os_str);
    let output = Command::new(program).args(["config", what, "--config"]).arg(file).output()?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Said { good: output.status.success(), said })
}

/// The files that these settings name, from what `config print` prints: `key = "value"  # origin`.
fn certificates(printed: &str) -> Vec<(String, PathBuf)> {
    let named = printed.lines().filter_map(|line| {
        let (key, value) = line.split_once(" = \"")?;
        let (path, _) = value.split_once('"')?;
        (CERTIFICATES.contains(&key) && !path.is_empty()).then(|| (key.to_owned(), PathBuf::from(path)))
    });
    named.collect()
}

/// How long each certificate of a file is good.
fn certificate(key: &str, path: &Path, now_s: i64) -> Vec<Finding> {
    let what = "certificate";
    let shown = path.display();
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            let advice = format!("set {key} to a file that this user can read");
            return vec![bad(what, format!("cannot read {shown}: {error}"), advice)];
        }
    };
    let mut findings = Vec::new();
    for pem in Pem::iter_from_buffer(&text) {
        let ends = pem.ok().and_then(|pem| {
            pem.parse_x509().ok().map(|parsed| (parsed.subject().to_string(), parsed.validity().not_after.timestamp()))
        });
        findings.push(match ends {
            None => bad(what, format!("{shown} holds something that is no certificate"), format!("replace {key}")),
            Some((subject, ends)) => expiry(&format!("{subject} in {shown}"), ends, now_s),
        });
    }
    if findings.is_empty() {
        findings.push(bad(what, format!("{shown} holds no certificate"), format!("{key} is a file in PEM form")));
    }
    findings
}

fn expiry(whose: &str, ends_s: i64, now_s: i64) -> Finding {
    let what = "certificate";
    let days = (ends_s - now_s) / 86_400;
    let note_s = i64::try_from(EXPIRY_NOTE.as_secs()).unwrap_or(i64::MAX);
    if ends_s <= now_s {
        bad(what, format!("{whose} has expired"), "renew it; a running gateway takes the new file up by itself")
    } else if ends_s - now_s < note_s {
        note(
            what,
            format!("{whose} expires in {days} days"),
            "renew it; a running gateway takes the new file up by itself",
        )
    } else {
        good(what, format!("{whose} is good for {days} days"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn certificates_are_found_in_what_the_program_prints() {
        let printed = "tls.certificate = \"/etc/tls/tls.crt\"  # environment HOLDFAST_TLS__CERTIFICATE\n\
                       tls.key = \"/etc/tls/tls.key\"  # file\nbus.tls.authorities = (unset)  # unset\n\
                       bus.tls.certificate = \"/etc/bus.crt\"  # file\n";

        let wanted = [("tls.certificate", "/etc/tls/tls.crt"), ("bus.tls.certificate", "/etc/bus.crt")];
        assert_eq!(certificates(printed), wanted.map(|(key, path)| (key.to_owned(), PathBuf::from(path))));
    }

    #[test]
    fn an_expiry_is_bad_when_it_is_past_and_noted_before() {
        let day = 86_400;
        assert_eq!(expiry("a", 100 * day, 0).state, State::Good);
        assert_eq!(expiry("a", 29 * day, 0).state, State::Note);
        assert_eq!(expiry("a", day, day).state, State::Bad);
    }

    #[test]
    fn a_file_that_is_no_certificate_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        assert_eq!(certificate("tls.certificate", &file, 0)[0].state, State::Bad);
        std::fs::write(&file, "hello").unwrap();
        assert!(certificate("tls.certificate", &file, 0)[0].said.contains("holds no certificate"));
    }
}
