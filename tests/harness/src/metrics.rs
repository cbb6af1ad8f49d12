//! Reads Prometheus text: one number by name and labels.

use std::net::SocketAddr;

use crate::http;

/// What one process's `/metrics` said at one moment.
#[derive(Debug, Clone)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Scrapes the admin listener at `admin`.
    ///
    /// # Panics
    /// If it does not answer 200.
    pub async fn scrape(admin: SocketAddr) -> Self {
        let response = http::get(admin, "/metrics").await;
        assert_eq!(response.status, 200, "GET /metrics: {}", response.body);
        Self { text: response.body }
    }

    /// The sum over all series of `name` that carry each of `labels`; `None` if there is no such series.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = None;
        for line in self.text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (key, set) = series.split_once('{').unwrap_or((series, ""));
            let carries = |(label, value): &(&str, &str)| set.contains(&format!("{label}=\"{value}\""));
            if key == name && labels.iter().all(carries) {
                *found.get_or_insert(0.0) += value.parse::<f64>().unwrap_or(f64::NAN);
            }
        }
        found
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_labels() {
        let text = "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"1\",y=\"3\"} 4\nab 100\nb 0\n".to_owned();
        let metrics = Metrics { text };

        assert_eq!(metrics.value("a", &[]), Some(7.0));
        assert_eq!(metrics.value("a", &[("y", "3")]), Some(4.0));
        assert_eq!(metrics.value("b", &[]), Some(0.0));
        assert_eq!(metrics.value("a", &[("y", "4")]), None);
    }
}
