//! How costs grow with size: memory and the CPU of one message to all, at sizes that double. The exponent is the slope on
//! logarithmic scales: 1 is in proportion, and what is above is what does not scale. A bare loop of `send()`s at the same
//! sizes, as far as this process can hold them, tells how much of that is the kernel's and its caches'.

use clap::Args;

use super::fanout::{self, ROOM};
use super::idle::settled;
use super::micros_each;
use crate::cores;
use crate::floor::send_loop::{Drive, SendLoop};
use crate::load::Swarm;
use crate::load::greet::one_room;
use crate::report::{Sheet, note, number_of};
use crate::system::{Fleet, Shape, Usage, used_by};

/// The size of the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct GrowthArgs {
    /// Sizes, ascending.
    #[arg(long, value_delimiter = ',', default_value = "1000,2000,4000,8000,16000")]
    pub(crate) sizes: Vec<usize>,
    /// Deliveries at each size.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) deliveries: u64,
    #[arg(long)]
    pub(crate) tls: bool,
}

/// Sockets of the bare loop at most: it has both ends of each in this process.
const FLOOR_MAX: usize = 9_000;

/// Runs all sizes on one fleet.
///
/// # Errors
/// A wrong delivery.
pub(crate) async fn run(args: &GrowthArgs, sheet: &mut Sheet) -> anyhow::Result<()> {
    cores::bind_thread(cores::LOAD)?;
    let fleet = Fleet::start(&Shape { tls: args.tls, bound: true, ..Shape::default() }).await?;
    let (gateway, router) = (fleet.cluster.gateway(0).pid(), fleet.cluster.router(0).pid());
    let parts = fleet.parts();
    let opening = fleet.opening(0, one_room(ROOM));
    let (mut swarm, mut publisher) = (Swarm::new(1)?, fleet.publisher()?);
    let base = [settled(gateway).await?, settled(router).await?];
    let mut curves: [(&str, Vec<(f64, f64)>); 4] =
        ["gateway memory", "router memory", "CPU to open one more", "CPU of a message to all"]
            .map(|name| (name, Vec::new()));
    let mut sent = 0;
    let bare = floor(args, &fleet, sheet)?;
    for size in &args.sizes {
        note(&format!("  {size} connections"));
        let before = Usage::of(&parts)?;
        let more = size - swarm.len();
        opening.open_all(swarm.len()..*size, 16, &mut swarm, 64)?;
        fleet.members(ROOM, *size).await;
        let opening_cpu = micros_each(used_by(&Usage::of(&parts)?.since(&before), "gateway"), more as u64);
        let memory = [settled(gateway).await?, settled(router).await?];
        let messages = (args.deliveries / *size as u64).max(10);
        let before = Usage::of(&parts)?;
        // So many have gone to those who came earlier; the streams of newcomers begin anew.
        let stream = u8::try_from(args.sizes.iter().position(|known| known == size).unwrap_or(0))?;
        sent += fanout::one_by_one(&mut publisher, &fleet.to_room(ROOM), &swarm, stream, messages, sent)?;
        let fan_cpu = micros_each(used_by(&Usage::of(&parts)?.since(&before), "gateway"), messages);
        #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
        let values =
            [memory[0].saturating_sub(base[0]) as f64, memory[1].saturating_sub(base[1]) as f64, opening_cpu, fan_cpu];
        #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
        let size_value = *size as f64;
        let case = format!("{} connections", number_of(*size));
        sheet.add(&case, "gateway memory per connection", "B", values[0] / size_value);
        sheet.add(&case, "router memory per user", "B", values[1] / size_value);
        sheet.add(&case, "gateway CPU to open one more", "µs", values[2]);
        sheet.add(&case, "gateway CPU per delivery", "µs", values[3] / size_value);
        for ((_, curve), value) in curves.iter_mut().zip(values) {
            curve.push((size_value, value));
        }
    }
    for (name, curve) in curves.iter().chain([&("CPU of a message to all, bare loop", bare)]) {
        let slope = exponent(curve);
        // Sizes too small to tell growth from nothing have none.
        if slope.is_finite() {
            sheet.add("exponent", name, "", slope);
        }
    }
    Ok(())
}

/// The CPU of one message to all by a bare loop, at each size that it can have.
fn floor(args: &GrowthArgs, fleet: &Fleet, sheet: &mut Sheet) -> anyhow::Result<Vec<(f64, f64)>> {
    let mut curve = Vec::new();
    for size in args.sizes.iter().filter(|size| **size <= FLOOR_MAX) {
        note(&format!("  {size} connections, bare loop"));
        let tls = args.tls.then(|| fleet.floor_tls()).transpose()?;
        let messages = (args.deliveries / *size as u64).max(10);
        let drive = Drive { messages, window: 1, per_send: 1, bytes: 64 };
        let each = micros_each(SendLoop::open(*size, tls)?.run(drive)?.cpu, messages);
        #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
        let size_value = *size as f64;
        let case = format!("{} connections", number_of(*size));
        sheet.add(&case, "CPU per delivery, bare loop", "µs", each / size_value);
        curve.push((size_value, each));
    }
    Ok(curve)
}

/// The slope of the logarithms, by least squares.
fn exponent(curve: &[(f64, f64)]) -> f64 {
    let points: Vec<(f64, f64)> =
        curve.iter().filter(|(_, value)| *value > 0.0).map(|(size, value)| (size.ln(), value.ln())).collect();
    #[expect(clippy::cast_precision_loss, reason = "a handful of points")]
    let count = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x) * (point.0 - x))
    });
    above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_those_of_the_curve() {
        let curve = |power: f64| [1000.0_f64, 2000.0, 4000.0].map(|size| (size, 3.0 * size.powf(power)));
        for power in [0.0, 1.0, 2.0] {
            assert!((exponent(&curve(power)) - power).abs() < 1e-9);
        }
    }
}
