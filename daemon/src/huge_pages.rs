//! Memory in small pages, for processes whose memory is millions of small things.
//!
//! The allocator asks the kernel for huge pages where it may. A huge page is resident whole once one byte of it is touched,
//! and what connections gave back can not leave it: an idle connection then costs about a third more. Knows no allocator.

/// Asks the kernel for no huge pages in this process from now on. Where that cannot be asked for, nothing changes.
pub fn avoid() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "Cannot do without huge pages");
    }
}
