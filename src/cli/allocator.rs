//! How the system's allocator is used, where that is glibc's.
//!
//! glibc gives threads arenas of their own, up to eight per core, and what one thread frees of another's arena stays
//! there. Batches and fetched frames are made by one thread and freed by another, so each arena grows to its own peak: a
//! fifth of the memory of a busy process. Small blocks come from a cache per thread, so few arenas cost no time.
//!
//! And it raises its threshold for blocks of their own to the largest that was freed, up to 32 MiB: what a restore collects
//! and what a fetch answers lie in the heap from then on, small blocks come above them, and the room is never given back.
//! With a fixed threshold they go back to the system when they are freed.

/// Blocks of this size have pages of their own. Above what is made and freed all the time: batches, and the answers to fetches
/// of a few partitions.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_PAGES_BYTES: nix::libc::c_int = 4 << 20;
/// What may be free at the heap's end before it is given back; glibc's 128 KiB would be given and taken all the time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FREE_END_BYTES: nix::libc::c_int = 8 << 20;

/// One arena for each stream thread, and large blocks outside of them. To be called before threads are started; elsewhere than with glibc it does nothing.
pub(super) fn bound_arenas(stream_threads: u16) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use nix::libc::{M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, c_int, mallopt};

        let bounds = [
            (M_ARENA_MAX, c_int::from(stream_threads)),
            (M_MMAP_THRESHOLD, OWN_PAGES_BYTES),
            (M_TRIM_THRESHOLD, FREE_END_BYTES),
        ];
        // SAFETY: it takes two numbers, and a lock of its own.
        #[allow(unsafe_code)]
        let taken = bounds.iter().all(|(what, bound)| unsafe { mallopt(*what, *bound) } == 1);
        if !taken {
            tracing::debug!(target: "headrace", "the allocator takes no bounds");
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = stream_threads;
}
