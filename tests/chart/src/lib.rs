//! Makes the files of the chart that are not written by hand, and knows how to render and judge the chart.
//!
//! `cargo run -p holdfast-chart -- generate` writes the files, `-- test` renders the chart with a real helm. Knows
//! nothing of gateway and router as programs: names of metrics are compared with the text of their sources.

pub mod checks;
pub mod dashboards;
pub mod generated;
pub mod helm;
pub mod metrics;
pub mod objects;
pub mod page;
pub mod readme;
pub mod repository;
pub mod rules;
pub mod settings;
pub mod values;
