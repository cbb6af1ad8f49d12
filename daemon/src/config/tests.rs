//! Facts about settings, rule by rule.

use super::*;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

choices! {
    /// A choice.
    pub(crate) enum Policy { Close = "close", DropOldest = "drop-oldest" }
}

settings! {
    /// The listener.
    struct Listen {
        /// Where.
        address: SocketAddr = "127.0.0.1:8080",
        /// Plain | fancy.
        plaintext: bool = "false",
    }
}

settings! {
    /// One of many.
    struct Endpoint {
        /// Its path.
        path: String,
        /// Its policy.
        policy: Policy = "close",
    }
}

settings! {
    /// Keys.
    struct Auth {
        /// The shared secret.
        secret: Option<Secret>,
    }
}

settings! {
    /// All of them.
    struct Sample {
        /// Listener.
        listen: Listen,
        /// Keys.
        auth: Auth,
        /// Endpoints.
        endpoints: BTreeMap<String, Endpoint>,
        /// The bus.
        bus: crate::bus::BusSettings,
        /// Who may come.
        origins: Vec<String> = "",
        /// How long.
        linger: Duration = "5s",
        /// How much.
        queue_bytes_max: ByteSize = "1MiB",
        /// How many.
        count: u32 = "7",
        /// Which share.
        share: f64 = "0.5",
        /// A note.
        note: Option<String>,
    }
}

fn accept(_: &Sample, _: &mut Problems) {}

fn service() -> Service<Sample> {
    Service {
        name: "sample",
        about: "A sample.",
        foreign: &["drain", "listen.backlog"],
        rules: accept,
        metrics: || Ok(prometheus::Registry::new()),
    }
}

fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn flags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A file in a folder of its own, removed with it.
struct File(PathBuf);

impl File {
    fn with(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("holdfast-config-{:016x}.toml", crate::random::number()));
        std::fs::File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("removed");
    }
}

fn from_env(pairs: &[(&str, &str)]) -> Result<Loaded<Sample>, Problems> {
    load(&service(), None, env(pairs), &[])
}

fn from_file(text: &str) -> Result<Loaded<Sample>, Problems> {
    let file = File::with(text);
    load(&service(), Some(file.path()), [], &[])
}

/// The problems as `key: what`, without origins.
fn problems(result: Result<Loaded<Sample>, Problems>) -> Vec<String> {
    let problems = result.map(|_| ()).expect_err("something is wrong");
    problems.iter().map(|p| Problem { origin: None, ..p.clone() }.to_string()).collect()
}

#[test]
fn later_layers_win_default_file_environment_flags() {
    let file = File::with("linger = '1s'\ncount = 1\nshare = 0.25\n[listen]\naddress = '127.0.0.1:1'\n");
    let environment = env(&[("HOLDFAST_COUNT", "2"), ("HOLDFAST_LISTEN__ADDRESS", "127.0.0.1:2")]);
    let flags = flags(&[("listen.address", "127.0.0.1:3")]);

    let loaded = load(&service(), Some(file.path()), environment, &flags).expect("good");

    assert_eq!(loaded.settings.queue_bytes_max.get(), 1 << 20);
    assert_eq!(loaded.settings.linger, Duration::from_secs(1));
    assert_eq!(loaded.settings.count, 2);
    assert!((loaded.settings.share - 0.25).abs() < 1e-9);
    assert_eq!(loaded.settings.listen.address.port(), 3);
}

#[test]
fn each_value_is_printed_with_its_origin() {
    let file = File::with("linger = '1s'\n");
    let environment = env(&[("HOLDFAST_LISTEN__ADDRESS", "127.0.0.1:2")]);

    let printed = load(&service(), Some(file.path()), environment, &flags(&[("count", "3")])).expect("good").print();

    let expected = [
        "listen.address = \"127.0.0.1:2\"  # environment HOLDFAST_LISTEN__ADDRESS".to_owned(),
        "listen.plaintext = \"false\"  # default".to_owned(),
        format!("linger = \"1s\"  # file {}", file.path().display()),
        "count = \"3\"  # flag --count".to_owned(),
        "note = (unset)  # unset".to_owned(),
    ];
    for line in expected {
        assert!(printed.lines().any(|printed| printed == line), "no line {line:?} in:\n{printed}");
    }
}

#[test]
fn durations_need_a_unit_in_every_layer() {
    for (text, millis) in [("500ms", 500), ("2s", 2_000), ("1m", 60_000), ("1h", 3_600_000), ("1d", 86_400_000)] {
        let loaded = from_env(&[("HOLDFAST_LINGER", text)]).expect("good");
        assert_eq!(loaded.settings.linger, Duration::from_millis(millis), "{text}");
    }
    for text in ["5", "0", "1.5s", "-1s", "s", "5 parsecs", "", "99999999999999999999s", "18446744073709551615d"] {
        assert!(from_env(&[("HOLDFAST_LINGER", text)]).is_err(), "{text:?} was accepted");
    }
    assert_eq!(problems(from_file("linger = 5\n")), ["linger: 5 has no unit; write 5ms, 5s or 5m"]);
    assert_eq!(problems(from_file("linger = 1.5\n")), ["linger: 1.5 has no unit; write 1.5ms, 1.5s or 1.5m"]);
}

#[test]
fn sizes_are_bytes_or_have_a_unit() {
    for (text, bytes) in
        [("65536", 65_536), ("64KiB", 65_536), ("1 MiB", 1 << 20), ("2MB", 2_000_000), ("1_000", 1_000)]
    {
        let loaded = from_env(&[("HOLDFAST_QUEUE_BYTES_MAX", text)]).expect("good");
        assert_eq!(loaded.settings.queue_bytes_max.get(), bytes, "{text}");
    }
    assert_eq!(from_file("queue_bytes_max = 4096\n").expect("good").settings.queue_bytes_max.get(), 4096);
    for text in ["1XB", "MiB", "-1", "1.5MiB", "99999999999GiB"] {
        assert!(from_env(&[("HOLDFAST_QUEUE_BYTES_MAX", text)]).is_err(), "{text:?} was accepted");
    }
}

#[test]
fn a_secret_of_digits_or_quotes_stays_the_text_it_is() {
    for text in ["01234567890123456789012345678901", "true", "1e5", "[a,b]", "\"quoted\"", " padded "] {
        let loaded = from_env(&[("HOLDFAST_AUTH__SECRET", text)]).expect("good");
        assert_eq!(loaded.settings.auth.secret.expect("set").expose(), text);
    }
}

#[test]
fn a_text_of_digits_in_the_environment_stays_text() {
    let loaded = from_env(&[("HOLDFAST_NOTE", "007"), ("HOLDFAST_BUS__PREFIX", "12")]).expect("good");

    assert_eq!(loaded.settings.note.as_deref(), Some("007"));
    assert_eq!(loaded.settings.bus.prefix, "12");
}

#[test]
fn a_secret_may_come_from_a_file_which_wins() {
    let file = File::with("from the file\n");
    let path = file.path().to_str().expect("UTF-8");

    let loaded = from_env(&[("HOLDFAST_AUTH__SECRET", "inline"), ("HOLDFAST_AUTH__SECRET_FILE", path)]).expect("good");
    let missing = problems(from_env(&[("HOLDFAST_AUTH__SECRET_FILE", "/nonexistent/key")]));

    assert_eq!(loaded.settings.auth.secret.expect("set").expose(), "from the file");
    assert!(missing[0].starts_with("auth.secret_file: cannot read"), "{missing:?}");
}

#[test]
fn no_secret_is_ever_shown() {
    let hidden = "correct horse battery staple";
    let url = "nats://ana:hunter2@127.0.0.1:4222";
    let loaded = from_env(&[
        ("HOLDFAST_AUTH__SECRET", hidden),
        ("HOLDFAST_BUS__USER", "ana"),
        ("HOLDFAST_BUS__PASSWORD", hidden),
        ("HOLDFAST_BUS__SERVERS", &format!("{url},nats://127.0.0.1:1")),
    ])
    .expect("good");

    let secret = loaded.settings.auth.secret.clone().expect("set");
    let shown = format!("{}{secret}{secret:?}{loaded:?}", loaded.print());
    let serialized = serde_json::to_string(&secret).expect("serializes");

    assert!(!shown.contains(hidden) && !shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("nats://***@127.0.0.1:4222,nats://127.0.0.1:1"), "{shown}");
    assert_eq!(serialized, "\"***\"");
}

#[test]
fn a_wrong_bus_address_is_refused_without_repeating_its_password() {
    let wrong = problems(from_env(&[("HOLDFAST_BUS__SERVERS", "nats://ana:hunter2@[bad")]));

    assert_eq!(wrong, ["bus.servers: is no NATS address such as nats://127.0.0.1:4222"]);
}

#[test]
fn lists_are_commas_or_arrays() {
    let comma = from_env(&[("HOLDFAST_ORIGINS", "https://a.example, https://b.example,")]).expect("good");
    let array = from_file("origins = ['https://a.example', 'https://b.example']\n").expect("good");
    let one = from_file("origins = '*'\n").expect("good");
    let none = from_env(&[("HOLDFAST_ORIGINS", "")]).expect("good");

    assert_eq!(comma.settings.origins, ["https://a.example", "https://b.example"]);
    assert_eq!(array.settings.origins, comma.settings.origins);
    assert_eq!(one.settings.origins, ["*"]);
    assert!(none.settings.origins.is_empty());
}

#[test]
fn what_kubernetes_injects_warns_and_never_stops_a_start() {
    let injected = [
        ("HOLDFAST_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
        ("HOLDFAST_PORT", "tcp://10.0.0.1:8080"),
        ("HOLDFAST_SERVICE_HOST", "10.0.0.1"),
        ("HOLDFAST_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("HOLDFAST_LISTEN", "tcp://10.0.0.1:1"),
        ("HOLDFAST_BUS", "tcp://10.0.0.1:1"),
        ("HOLDFAST_BUS__TLS", "tcp://10.0.0.1:1"),
        ("HOLDFAST_ENDPOINTS", "tcp://10.0.0.1:1"),
        ("HOLDFAST_", "x"),
        ("HOLDFAST___", "x"),
        ("HOLDFAST_LISTEN__ADDRESS__X", "x"),
    ];

    let loaded = from_env(&injected).expect("starts");

    assert_eq!(loaded.settings.listen.address.port(), 8080);
    assert_eq!(loaded.warnings().len(), injected.len(), "{:?}", loaded.warnings());
}

#[test]
fn a_misspelt_variable_warns_with_the_nearest_one() {
    let loaded = from_env(&[("HOLDFAST_LISTEN__ADDRES", "127.0.0.1:1")]).expect("starts");

    assert_eq!(
        loaded.warnings(),
        ["HOLDFAST_LISTEN__ADDRES: unknown environment variable, ignored; did you mean HOLDFAST_LISTEN__ADDRESS?"]
    );
}

#[test]
fn an_unknown_key_in_a_file_fails_with_the_nearest_one() {
    let wrong = problems(from_file("lingr = '5s'\nzzz = 1\n[listen]\nadress = 'x'\n[listn]\naddress = 'x'\n"));

    assert_eq!(
        wrong,
        [
            "lingr: unknown key; did you mean linger?",
            "listen.adress: unknown key; did you mean listen.address?",
            "listn: unknown key; did you mean listen?",
            "zzz: unknown key",
        ]
    );
}

#[test]
fn a_section_is_no_setting_and_a_setting_no_section() {
    let wrong = problems(from_file("listen = 'x'\n[linger]\na = 1\n"));

    assert_eq!(wrong, ["linger: is a setting, not a section", "listen: is a section, not a setting"]);
}

#[test]
fn sections_of_other_services_in_a_shared_file_are_ignored() {
    let loaded = from_file("[drain]\nanything = 1\n[listen]\nbacklog = 5\nplaintext = true\n").expect("good");
    let warned = from_env(&[("HOLDFAST_DRAIN__DELAY", "1s")]).expect("good");

    assert!(loaded.settings.listen.plaintext);
    assert!(warned.warnings().is_empty(), "{:?}", warned.warnings());
}

#[test]
fn an_unknown_flag_fails_with_the_nearest_one() {
    let result = load(&service(), None, [], &flags(&[("listen.adress", "x")]));

    assert_eq!(problems(result), ["--listen.adress: unknown flag; did you mean --listen.address?"]);
}

#[test]
fn all_errors_are_told_at_once_with_key_and_origin() {
    let file = File::with("linger = 5\ncount = 'many'\nwrong = 1\n");
    let result = load(&service(), Some(file.path()), env(&[("HOLDFAST_LISTEN__ADDRESS", "here")]), &[]);

    let text = result.map(|_| ()).expect_err("wrong").to_string();

    assert_eq!(text.lines().count(), 4, "{text}");
    for part in ["linger: 5 has no unit", "count: \"many\" is no whole number", "wrong: unknown key"] {
        assert!(text.lines().any(|line| line.starts_with(part) && line.contains("(file ")), "{part} in:\n{text}");
    }
    assert!(text.contains("listen.address: \"here\" is no address with a port"), "{text}");
    assert!(text.contains("(environment HOLDFAST_LISTEN__ADDRESS)"), "{text}");
}

#[test]
fn a_file_that_is_missing_or_malformed_is_an_error() {
    let missing = load(&service(), Some(Path::new("/nonexistent/file.toml")), [], &[]);

    assert!(problems(missing)[0].starts_with("cannot read the configuration file"));
    assert_eq!(problems(from_file("linger = \n")).len(), 1);
}

#[test]
fn named_sections_have_names_of_the_operators_choice() {
    let file =
        File::with("[endpoints.chat]\npath = '/chat'\n[endpoints.news]\npath = '/news'\npolicy = 'drop-oldest'\n");
    let environment =
        env(&[("HOLDFAST_ENDPOINTS__CHAT__POLICY", "drop-oldest"), ("HOLDFAST_ENDPOINTS__X__PATH", "/x")]);

    let endpoints = load(&service(), Some(file.path()), environment, &[]).expect("good").settings.endpoints;

    let short: Vec<_> = endpoints.iter().map(|(name, e)| (name.as_str(), e.path.as_str(), e.policy.word())).collect();
    assert_eq!(short, [("chat", "/chat", "drop-oldest"), ("news", "/news", "drop-oldest"), ("x", "/x", "close")]);
}

#[test]
fn what_a_named_section_requires_is_named_with_it() {
    let wrong = problems(from_file("[endpoints.chat]\npolicy = 'close'\npth = '/x'\n"));

    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert_eq!(wrong[0], "endpoints.chat.pth: unknown key; did you mean endpoints.chat.path?");
    assert!(wrong[1].starts_with("endpoints.chat.path: is required"), "{wrong:?}");
}

#[test]
fn a_choice_names_the_words_it_knows() {
    let wrong = problems(from_file("[endpoints.chat]\npath = '/'\npolicy = 'shout'\n"));

    assert_eq!(wrong, ["endpoints.chat.policy: \"shout\" is none of: `close` or `drop-oldest`"]);
}

#[test]
fn an_empty_optional_is_unset() {
    let loaded = from_env(&[("HOLDFAST_NOTE", ""), ("HOLDFAST_AUTH__SECRET", "")]).expect("good");

    assert_eq!(loaded.settings.note, None);
    assert!(loaded.settings.auth.secret.is_none());
}

#[test]
fn rules_between_settings_are_asked_last_and_refuse_the_start() {
    fn rules(settings: &Sample, problems: &mut Problems) {
        if settings.count > 5 {
            problems.add("count", "must be at most 5");
        }
    }
    let service = Service { rules, ..service() };

    assert_eq!(problems(load(&service, None, [], &[])), ["count: must be at most 5"]);
}

#[test]
fn the_default_file_changes_nothing_and_names_every_setting() {
    let table = start::table::<Sample>();
    let text = render::default("sample", &table);

    let from_default = from_file(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let bare = load(&service(), None, [], &[]).expect("good");

    assert_eq!(format!("{:?}", from_default.settings), format!("{:?}", bare.settings));
    for entry in table.entries() {
        assert!(text.contains(&format!("{} = ", entry.key.name())), "{} is missing in:\n{text}", entry.key);
    }
}

#[test]
fn the_documentation_lists_key_variable_default_and_meaning() {
    let text = render::markdown("sample", &start::table::<Sample>());

    let line = "| `listen.address` | `HOLDFAST_LISTEN__ADDRESS` | address:port | `127.0.0.1:8080` | Where. |";
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(text.contains("| `endpoints.NAME.path` | `HOLDFAST_ENDPOINTS__NAME__PATH` | text | required |"), "{text}");
    assert!(text.contains("Plain \\| fancy."), "{text}");
}

mod command_lines {
    //! What the words after the program's name mean.

    use super::super::command_line::{Command, CommandLine, parse};

    fn line(words: &[&str]) -> Result<CommandLine, String> {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn flags_take_their_value_after_a_space_or_an_equals_sign() {
        let parsed = line(&["--config", "a.toml", "--listen.address=127.0.0.1:1", "--origins", "*"]).expect("parses");

        assert_eq!(parsed.command, Command::Run);
        assert_eq!(parsed.file.as_deref(), Some(std::path::Path::new("a.toml")));
        let expected = [("listen.address", "127.0.0.1:1"), ("origins", "*")];
        assert_eq!(parsed.flags, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn subcommands_help_and_version_are_understood() {
        let command = |words: &[&str]| line(words).map(|line| line.command);

        assert_eq!(command(&[]), Ok(Command::Run));
        assert_eq!(command(&["config", "check"]), Ok(Command::Check));
        assert_eq!(command(&["config", "print", "--count", "1"]), Ok(Command::Print));
        assert_eq!(command(&["config", "default"]), Ok(Command::Default));
        assert_eq!(command(&["--help"]), Ok(Command::Help));
        assert_eq!(command(&["-V"]), Ok(Command::Version));
        assert!(command(&["config"]).is_err());
        assert!(command(&["serve"]).is_err());
        assert!(command(&["--count"]).is_err());
    }
}
