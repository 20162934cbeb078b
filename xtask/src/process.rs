//! Child processes: with their memory measured, or with a limit on their time.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// What a finished child used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub wall: Duration,
    /// Highest resident size, mapped files included; `None` where the system does not tell.
    pub peak_rss_bytes: Option<u64>,
    /// Highest resident size without mapped files, as far as 20 ms sampling sees it.
    pub peak_rss_anon_bytes: Option<u64>,
}

/// Runs a command to its end with its output in `log`; fails with the log's last lines.
pub fn run_measured(command: &mut Command, log: &Path) -> Result<Usage> {
    let name = command.get_program().to_string_lossy().into_owned();
    if let Some(parent) = log.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = output.try_clone().context("cannot share the log file")?;
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let done = AtomicBool::new(false);
    let pid = child.id();
    let (status, usage) = thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(pid, &done));
        let status = child.wait();
        done.store(true, Ordering::Relaxed);
        (status, sampler.join().unwrap_or_default())
    });
    let status = status.with_context(|| format!("cannot wait for {name}"))?;
    ensure!(
        status.success(),
        "{name} ended with {status}; the end of {}:\n{}",
        log.display(),
        tail(log, 20)
    );
    Ok(Usage {
        wall: started.elapsed(),
        ..usage
    })
}

/// Follows a process until told to stop. The high-water mark is the kernel's own, so that the last
/// sample before the end is enough; the anonymous part has no mark and is as good as the interval.
fn sample(pid: u32, done: &AtomicBool) -> Usage {
    let mut usage = Usage::default();
    while !done.load(Ordering::Relaxed) {
        let (peak, anonymous) = memory(pid);
        usage.peak_rss_bytes = usage.peak_rss_bytes.max(peak);
        usage.peak_rss_anon_bytes = usage.peak_rss_anon_bytes.max(anonymous);
        thread::sleep(Duration::from_millis(20));
    }
    usage
}

/// Peak resident and present anonymous bytes of a process, from `/proc`.
pub fn memory(pid: u32) -> (Option<u64>, Option<u64>) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().split(' ').next()?.parse::<u64>().ok()? * 1024)
    };
    (field("VmHWM:"), field("RssAnon:"))
}

/// User and system time of all children that were waited for, in steps of the kernel's hundredths of a second.
pub fn children_time() -> Result<Duration> {
    let text = fs::read_to_string("/proc/self/stat")
        .context("cannot read /proc/self/stat, which tells the processor's time of children")?;
    // The name in the second field may hold blanks and parentheses.
    let fields = text.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(13).take(2);
    let ticks: Vec<u64> = ticks.filter_map(|field| field.parse().ok()).collect();
    ensure!(ticks.len() == 2, "/proc/self/stat has too few fields");
    Ok(Duration::from_millis(10 * ticks.iter().sum::<u64>()))
}

/// The last lines of a text file, for messages.
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Waits for a child that leads its own process group; `None` when it had to be ended at the deadline.
pub fn wait_until(child: &mut Child, deadline: Option<Instant>) -> Result<Option<ExitStatus>> {
    let Some(deadline) = deadline else {
        return Ok(Some(
            child.wait().context("cannot wait for a child process")?,
        ));
    };
    loop {
        if let Some(status) = child
            .try_wait()
            .context("cannot wait for a child process")?
        {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            // The whole group: cargo's own children would go on, holding the build folder's lock.
            let group = format!("-{}", child.id());
            Command::new("kill")
                .args(["-KILL", "--", &group])
                .status()
                .context("cannot run kill")?;
            child.wait().context("cannot wait for a child process")?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_children_grows_by_what_they_worked() {
        let before = children_time().unwrap();
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let status = Command::new("sh").args(["-c", work]).status().unwrap();
        assert!(status.success());
        let time = children_time().unwrap().saturating_sub(before);
        assert!(time >= Duration::from_millis(10), "{time:?}");
    }
}
