//! How this process keeps the memory of tensors.

/// Make this process keep memory that it frees, for the next tensors of the same sizes; to be called once,
/// by a program, before it trains.
///
/// The C library maps every large block of its own and unmaps it when it is freed: the system then clears
/// its pages again for the next tensor, which takes a fifth of the time of a layer's step. Here blocks of
/// any size come from one heap that does not shrink. Does nothing where the C library is not glibc.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const NEVER: libc::c_int = libc::c_int::MAX;
        let settings = [
            (libc::M_MMAP_THRESHOLD, NEVER),
            (libc::M_TRIM_THRESHOLD, NEVER),
            // One for all threads: in a heap of its own, every thread would keep what it freed.
            (libc::M_ARENA_MAX, 1),
        ];
        for (parameter, value) in settings {
            // SAFETY: sets one number of the allocator's. A refusal leaves it as it was, which is slower
            // and nothing else.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}

/// Give back memory that was freed, once: after work whose blocks will not be asked for again, such as choosing
/// the coefficients of every layer. Does nothing where the C library is not glibc.
pub fn release_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: touches free blocks of the allocator's only.
    unsafe {
        libc::malloc_trim(0);
    }
}
