//! Every metric of the process, registered in one place: for the process itself, and for the page that lists them.

use std::sync::Arc;

use holdfast_daemon::bus::BusMetrics;
use holdfast_daemon::reload::Reloads;
use holdfast_daemon::shutdown::Tasks;
use holdfast_daemon::{logging, process, telemetry};
use prometheus::Registry;

use super::{GatewayCollector, HubCells, KeyCollector, ShardCells};

/// The kinds of subscriptions that are counted apart.
pub(crate) const SUBSCRIPTIONS: [&str; 4] = ["router_beats", "discover", "packets", "inbox"];

/// Registers what counts from the start, and returns the bus's.
pub(crate) fn register(
    registry: &Registry,
    hub: Arc<HubCells>,
    shards: Vec<Arc<ShardCells>>,
) -> prometheus::Result<BusMetrics> {
    process::register(registry)?;
    telemetry::register(registry)?;
    logging::register(registry)?;
    registry.register(Box::new(GatewayCollector::new(hub, shards)?))?;
    BusMetrics::new(registry)
}

/// Each family at zero.
///
/// # Errors
/// A metric was declared twice.
pub(crate) fn all() -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let bus = register(&registry, Arc::default(), vec![Arc::default()])?;
    bus.name_subscriptions(&SUBSCRIPTIONS);
    registry.register(Box::new(KeyCollector::sample()?))?;
    drop(crate::fallback::Exchanges::new(&registry)?);
    drop(crate::relay::Metrics::new(&registry)?);
    Reloads::declare(&registry, &Tasks::new())?.name(&[
        "admin_token",
        "bus_credentials",
        "certificate",
        "jwks",
        "log_level",
    ]);
    Ok(registry)
}
