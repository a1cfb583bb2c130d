//! Letting go of memory.

/// Unmaps the pages of a text mapping; the next use of one maps it again from the page cache. Only for mappings that
/// nobody ever wrote to, not even the loader: private changes would be lost. `start` and `length` are as /proc/self/maps
/// told a moment ago, and executables and libraries of musher are never unmapped.
pub(crate) fn release_text(start: usize, length: usize) {
    let start = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: the range is a whole mapping of code that the loader made, private and without write permission. Its pages
    // are the file's, so that mapping them anew gives the same bytes.
    let _ = unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
}

/// Gives the allocator's free pages back.
pub(crate) fn release_heap() {
    // SAFETY: may be called at any time, from any thread (malloc_trim(3)).
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
