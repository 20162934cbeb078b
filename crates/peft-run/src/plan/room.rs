//! Whether a run can be in the memory that there is.

use std::fs;

use super::Plan;
use crate::{DeviceChoice, RunError, bytes};

/// How many times the machine's memory an estimate may be: it may be wrong, and systems lend.
const LENIENCE: u64 = 2;

impl Plan {
    /// Refuse a run on the CPU that the system would kill for its memory, as after a typing error in a rank.
    ///
    /// # Errors
    /// [`RunError::Setting`] with both sizes.
    pub(crate) fn expect_room(&self, device: DeviceChoice) -> Result<(), RunError> {
        let Some(there) = memory().filter(|_| device == DeviceChoice::Cpu) else {
            return Ok(());
        };
        let needed = self.memory.step as u64;
        if needed <= there.saturating_mul(LENIENCE) {
            return Ok(());
        }
        Err(RunError::setting(
            "memory",
            format!(
                "a step would need about {}, and this machine has {}: {} parameters would be trained, with batches of up \
                 to {} tokens",
                bytes(needed),
                bytes(there),
                self.trainable_parameters,
                self.batch_tokens
            ),
            "lower the size of the adapter (its rank, for many methods), `batch_size` or `max_length`",
        ))
    }
}

/// Bytes that the processes here can have together, swapped ones among them; none where the system does not say.
fn memory() -> Option<u64> {
    let all = fs::read_to_string("/proc/meminfo").ok()?;
    let of = |name: &str| {
        let line = all.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    let machine = of("MemTotal:")? + of("SwapTotal:").unwrap_or(0);
    // Of a container, which may have less.
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|text| text.trim().parse().ok());
    Some(limit.map_or(machine, |limit: u64| limit.min(machine)))
}
