//! Memory of this process, as the operating system counts it.

/// The largest resident set so far, in bytes; `None` where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

/// Resident anonymous memory now, in bytes: without the pages of mapped checkpoints.
pub fn resident_anonymous() -> Option<u64> {
    status("RssAnon:")
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
