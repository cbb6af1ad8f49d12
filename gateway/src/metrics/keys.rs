//! How fresh what the gateway shows and trusts is: its certificate, and the key set for tokens.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounterVec, Opts};

use crate::auth::JwksStatus;
use crate::net::certificates::Certificates;

/// Exports when the certificate expires and how reading the key set goes; each only where there is one.
#[derive(Debug)]
pub struct KeyCollector {
    certificates: Option<Arc<Certificates>>,
    jwks: Option<Arc<JwksStatus>>,
    expiry: Gauge,
    last_success: Gauge,
    fetches: IntCounterVec,
    /// Shows the certificate's though there is none.
    sample: bool,
}

impl KeyCollector {
    /// A collector over what there is.
    ///
    /// # Errors
    /// Never for the names in this file; the metrics crate checks them at run time.
    pub fn new(certificates: Option<Arc<Certificates>>, jwks: Option<Arc<JwksStatus>>) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| Gauge::new(format!("holdfast_gateway_{name}"), help);
        let fetches = Opts::new("holdfast_gateway_jwks_fetch_total", "Reads of the key set for tokens, by result");
        Ok(Self {
            certificates,
            jwks,
            expiry: gauge(
                "tls_certificate_expiry_timestamp_seconds",
                "When the certificate that clients see expires, Unix time in seconds",
            )?,
            last_success: gauge(
                "jwks_last_success_timestamp_seconds",
                "When the key set for tokens was last read, Unix time in seconds",
            )?,
            fetches: IntCounterVec::new(fetches, &["result"])?,
            sample: false,
        })
    }

    /// Each family at zero, for the list of metrics.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn sample() -> prometheus::Result<Self> {
        Ok(Self { sample: true, ..Self::new(None, Some(Arc::default()))? })
    }
}

impl Collector for KeyCollector {
    fn desc(&self) -> Vec<&Desc> {
        [self.expiry.desc(), self.last_success.desc(), self.fetches.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        let expires = self.certificates.as_ref().and_then(|certificates| certificates.expires_unix_s());
        if let Some(unix_s) = expires.or(self.sample.then_some(0)) {
            #[expect(clippy::cast_precision_loss, reason = "seconds stay far below 2^53")]
            self.expiry.set(unix_s as f64);
            families.extend(self.expiry.collect());
        }
        if let Some(status) = &self.jwks {
            #[expect(clippy::cast_precision_loss, reason = "seconds stay far below 2^53")]
            self.last_success.set(status.last_success_unix_s.load(Ordering::Relaxed) as f64);
            families.extend(self.last_success.collect());
            for (result, count) in [("ok", &status.successes), ("failed", &status.failures)] {
                let counter = self.fetches.with_label_values(&[result]);
                counter.inc_by(count.load(Ordering::Relaxed).saturating_sub(counter.get()));
            }
            families.extend(self.fetches.collect());
        }
        families
    }
}
