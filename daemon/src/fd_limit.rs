//! Room for sockets: the soft limit of open files is raised to the hard one.
//!
//! Container runtimes start processes at a soft limit of 1024, where a gateway would die at about 1,000 clients.

/// Raises the soft limit as far as it goes and returns it; `None` where it cannot be told.
pub fn raise() -> Option<u64> {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => Some(limit),
        Err(error) => {
            tracing::warn!(%error, "Cannot raise the limit of open files");
            rlimit::Resource::NOFILE.get_soft().ok()
        }
    }
}
