//! The accounts and permissions of `deploy/nats`, as they are deployed, on a nats-server of a test.

use std::fs;
use std::path::Path;

/// Whoever must look behind the scenes: a user of the tests' own, who may do everything. Nothing of the product has that.
pub const BEHIND_THE_SCENES: &str = "tests";

/// A domain service's user.
pub const SERVICE: &str = "service";

/// The user as which one of our programs connects.
pub fn user_of(program: &str) -> &str {
    program.strip_prefix("holdfast-").unwrap_or("operator")
}

/// What a user of the tests logs on with.
pub fn password_of(user: &str) -> String {
    format!("p{user}")
}

/// The branch of inboxes that a user may hear.
pub fn inboxes_of(user: &str) -> String {
    format!("_INBOX.{user}")
}

/// The configuration, with passwords in place of the environment, one user more, and one right more for domain services: to
/// send to their own inboxes, by which the tests know that what came before has arrived.
///
/// # Panics
/// If the files are not there, or are of another form.
pub fn config() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let service = "service_may = {\n  publish: {\n    allow: [\n";
    let (include, users) = ("include ./permissions.conf", "users: [\n      { user: gateway");
    let mut text = read("accounts-password.conf");
    let permissions = read("permissions.conf");
    let known = text.contains(include) && text.contains(users) && permissions.contains(service);
    assert!(known, "deploy/nats is of another form: {text}{permissions}");
    text = text.replace(include, &permissions.replace(service, &format!("{service}      \"_INBOX.service.>\"\n")));
    let more = format!("{{ user: {BEHIND_THE_SCENES}, password: {} }}", password_of(BEHIND_THE_SCENES));
    text = text.replace(users, &users.replace("users: [", &format!("users: [\n      {more}")));
    for user in ["gateway", "router", "service", "observer", "operator", "system"] {
        text = text.replace(&format!("$NATS_{}_PASSWORD", user.to_uppercase()), &password_of(user));
    }
    text
}
