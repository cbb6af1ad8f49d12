//! End-to-end tests over real processes. All of them are in `tests/`, as one test binary; this crate holds no code.
