//! Memory of this process, as the operating system counts it.

/// The largest resident set so far, in bytes; `None` where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

/// Resident anonymous memory now, in bytes: without the pages of mapped checkpoints.
pub fn resident_anonymous() -> Option<u64> {
    status("RssAnon:")
}

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

fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_grows_with_what_is_held() {
        let before = resident_anonymous().unwrap();
        let held = vec![1u8; 64 << 20];
        let after = resident_anonymous().unwrap();
        assert!(
            after >= before + (48 << 20),
            "{before} {after} {}",
            held.len()
        );
        assert!(peak_memory().unwrap() >= after);
    }
}
