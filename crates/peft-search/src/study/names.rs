//! Names of workers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::SearchError;

/// A name that no other worker has: machine, process and count.
pub fn own() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine: String = machine
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(64)
        .collect();
    let machine = if machine.is_empty() {
        "machine"
    } else {
        &machine
    };
    // A process number may come again, on this machine after a while and on another at any time.
    let since = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos());
    let stamp = (since as u64) ^ ((since >> 64) as u64);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{machine}-{}-{stamp:x}-{count}", std::process::id())
}

/// Checks that a name is one that [`own`] gives: no path, and not long.
pub fn check(name: &str, place: &str) -> Result<(), SearchError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if (1..=128).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(SearchError::Journal {
        path: place.to_owned(),
        line: 0,
        reason: format!("{name:?} is no worker's name: expected letters, digits and dashes"),
    })
}
