//! Suites nobody of us wrote, each with a driver of its own in `src/bin`; `cargo xtask test <suite>` runs them.
