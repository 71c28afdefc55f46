//! How the system's allocator is used, where that is glibc's.
//!
//! glibc gives threads arenas of their own, up to eight per core, and what one thread frees of another's arena stays
//! there. Batches and fetched frames are made by one thread and freed by another, so each arena grows to its own peak: a
//! fifth of the memory of a busy process. Small blocks come from a cache per thread, so few arenas cost no time.

/// One arena for each stream thread. To be called before threads are started; elsewhere than with glibc it does nothing.
pub(super) fn bound_arenas(stream_threads: u16) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use nix::libc::{M_ARENA_MAX, c_int, mallopt};

        let arenas = c_int::from(stream_threads);
        // SAFETY: it takes two numbers, and a lock of its own.
        #[allow(unsafe_code)]
        let taken = unsafe { mallopt(M_ARENA_MAX, arenas) } == 1;
        if !taken {
            tracing::debug!(target: "headrace", "the allocator takes no bound on its arenas");
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = stream_threads;
}
