//! Which endpoint a path stands for.

use std::sync::Arc;

use holdfast_protocol::token::check_key;

use super::endpoint::{Endpoint, Rules};
use super::query::decode;
use super::refusal::HttpRefusal;

/// A path of its own, from the configuration.
#[derive(Debug, Clone)]
pub struct PathRule {
    /// The path, decoded; a slash at its end means nothing. With `/**` at its end also all below it.
    pub path: String,
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
}

/// All that a listener knows of paths. The first rule that fits decides; then `/ws` and `/ws/**`; then any path, where
/// the profile allows it.
#[derive(Debug, Clone)]
pub struct PathRules {
    /// Paths from the configuration.
    pub configured: Vec<PathRule>,
    /// For `/ws` (endpoint `default`) and `/ws/**` (named by the rest).
    pub ws: Arc<Rules>,
    /// For any other path, named by the path: the development profile.
    pub others: Option<Arc<Rules>>,
    /// The path that echoes.
    pub echo: Option<String>,
}

/// What a path stands for.
#[derive(Debug)]
pub(super) enum Resolved {
    /// An endpoint that exists already.
    Endpoint(Arc<Endpoint>),
    /// An endpoint named by its path.
    Named(String, Arc<Rules>),
    /// The echo route.
    Echo,
}

/// Pages of the admin listener: whatever the profile, they are not here.
const ADMIN_PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

impl PathRules {
    /// What this path, as it came, stands for.
    pub(super) fn resolve(&self, raw: &str) -> Result<Resolved, HttpRefusal> {
        let path = normalize(raw).ok_or(HttpRefusal::PATH)?;
        if self.echo.as_deref().map(unslashed) == Some(&path) {
            return Ok(Resolved::Echo);
        }
        if let Some(rule) = self.configured.iter().find(|rule| rule.fits(&path)) {
            return Ok(Resolved::Endpoint(rule.endpoint.clone()));
        }
        let below_ws = path.strip_prefix("/ws/");
        let (name, rules) = match (below_ws, &self.others) {
            (Some(name), _) => (name, &self.ws),
            (None, _) if path == "/ws" => (DEFAULT_NAME, &self.ws),
            (None, Some(rules)) if !ADMIN_PATHS.contains(&path.as_str()) => {
                (path.strip_prefix('/').filter(|name| !name.is_empty()).unwrap_or(DEFAULT_NAME), rules)
            }
            (None, _) => return Err(HttpRefusal::NOT_FOUND),
        };
        // The name becomes a token and a header.
        if check_key(name).is_err() || name.trim() != name {
            return Err(HttpRefusal::PATH);
        }
        Ok(Resolved::Named(name.to_owned(), rules.clone()))
    }
}

/// The endpoint of `/ws`.
const DEFAULT_NAME: &str = "default";

impl PathRule {
    fn fits(&self, path: &str) -> bool {
        match self.path.strip_suffix("/**") {
            Some(above) => path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            None => unslashed(&self.path) == path,
        }
    }
}

fn unslashed(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// The path decoded, without a slash at its end (`/` itself becomes empty). `None` for bad escapes, control
/// characters, `//`, and segments that are dots.
fn normalize(raw: &str) -> Option<String> {
    let mut path = decode(raw, false)?;
    if !path.starts_with('/') || path.contains("//") || path.chars().any(char::is_control) {
        return None;
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return None;
    }
    if path.ends_with('/') {
        path.pop();
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(others: bool) -> PathRules {
        let endpoint = |name: &str| Arc::new(Endpoint { name: name.into(), rules: Arc::new(Rules::bare()) });
        PathRules {
            configured: vec![
                PathRule { path: "/notifications/".into(), endpoint: endpoint("notify") },
                PathRule { path: "/games/**".into(), endpoint: endpoint("games") },
            ],
            ws: Arc::new(Rules::json()),
            others: others.then(|| Arc::new(Rules::bare())),
            echo: Some("/echo/".into()),
        }
    }

    #[track_caller]
    fn check(rules: &PathRules, raw: &str, expected: Result<&str, u16>) {
        let resolved = rules.resolve(raw).map_err(|refusal| refusal.status);
        let name = resolved.map(|resolved| match resolved {
            Resolved::Endpoint(endpoint) => endpoint.name.to_string(),
            Resolved::Named(name, _) => name,
            Resolved::Echo => "(echo)".to_owned(),
        });
        assert_eq!(name.as_deref(), expected.as_deref(), "{raw}");
    }

    #[test]
    fn paths_name_endpoints() {
        let name = "x".repeat(200);
        let longest = format!("/ws/{name}");
        let too_long = format!("{longest}x");
        for (raw, expected) in [
            ("/ws", Ok("default")),
            ("/ws/", Ok("default")),
            ("/ws/chat", Ok("chat")),
            ("/ws/chat/", Ok("chat")),
            ("/ws/crowd/location", Ok("crowd/location")),
            ("/ws/crowd%2Flocation", Ok("crowd/location")),
            ("/ws/%ED%95%9C", Ok("한")),
            ("/ws/a+b", Ok("a+b")),
            ("/ws/...", Ok("...")),
            ("/%77s/chat", Ok("chat")),
            ("/notifications", Ok("notify")),
            ("/notifications/", Ok("notify")),
            ("/notifications/x", Err(404)),
            ("/games", Ok("games")),
            ("/games/a/b", Ok("games")),
            ("/gamesx", Err(404)),
            ("/echo", Ok("(echo)")),
            ("/", Err(404)),
            ("/wsx", Err(404)),
            ("/WS/chat", Err(404)),
            ("/nowhere", Err(404)),
            ("/metrics", Err(404)),
            ("//ws", Err(400)),
            ("/ws//chat", Err(400)),
            ("/ws/%2Fchat", Err(400)),
            ("/ws/../admin", Err(400)),
            ("/ws/%2e%2e/admin", Err(400)),
            ("/ws/./chat", Err(400)),
            ("/ws/%", Err(400)),
            ("/ws/%zz", Err(400)),
            ("/ws/%FF", Err(400)),
            ("/ws/a%0D%0Ab", Err(400)),
            ("/ws/%20chat", Err(400)),
            ("*", Err(400)),
            ("", Err(400)),
            (&longest, Ok(&name)),
            (&too_long, Err(400)),
        ] {
            check(&rules(false), raw, expected);
        }
    }

    #[test]
    fn in_development_any_path_is_an_endpoint() {
        for (raw, expected) in [
            ("/", Ok("default")),
            ("/chat", Ok("chat")),
            ("/a/b/", Ok("a/b")),
            ("/ws/chat", Ok("chat")),
            ("/notifications", Ok("notify")),
            ("/livez", Err(404)),
            ("/readyz/", Err(404)),
            ("/metrics", Err(404)),
            ("/a/../b", Err(400)),
        ] {
            check(&rules(true), raw, expected);
        }
    }
}
