//! What of the machine bears on speed, without what would identify it.

use std::fs;
use std::process::Command;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::workspace;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Machine {
    pub architecture: String,
    pub system: String,
    pub cores: usize,
    pub vector_units: Vec<String>,
    /// Vendor, family and model, which tell the class of a processor and not which one it is.
    #[serde(default)]
    pub processor: String,
    pub memory_gib: Option<u64>,
    /// Over the last minute before the run: above the one of an idle machine, times are not to be trusted.
    pub load_before: Option<f64>,
    pub rustc: String,
    pub commit: String,
}

impl Machine {
    pub fn look() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = cpu
            .lines()
            .find(|line| line.starts_with("flags"))
            .unwrap_or_default();
        let field = |name: &str| {
            let line = cpu
                .lines()
                .find(|line| line.split(':').next().map(str::trim) == Some(name));
            line.and_then(|line| line.split(':').nth(1))
                .unwrap_or("unknown")
                .trim()
        };
        let processor = format!(
            "{} family {} model {}",
            field("vendor_id"),
            field("cpu family"),
            field("model")
        );
        let has = |name: &&str| flags.split(' ').any(|flag| flag == *name);
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes = memory
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse::<u64>().ok());
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            architecture: std::env::consts::ARCH.to_owned(),
            system: std::env::consts::OS.to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            vector_units: [
                "avx2",
                "fma",
                "avx512f",
                "avx512_vnni",
                "avx512_bf16",
                "amx_bf16",
                "amx_int8",
            ]
            .into_iter()
            .filter(has)
            .map(str::to_owned)
            .collect(),
            processor,
            memory_gib: kilobytes.map(|count| (count + (1 << 19)) >> 20),
            load_before: load.split(' ').next().and_then(|word| word.parse().ok()),
            rustc: said("rustc", &["--version"]),
            commit: said("git", &["rev-parse", "--short", "HEAD"]),
        }
    }

    /// For the head of a report: cores, vector units, compiler, commit, load.
    pub fn line(&self, threads: u32) -> String {
        format!(
            "{threads} of {} cores ({}{}, {}; {}), {} GiB. {}; commit {}. Load before the run: {}.",
            self.cores,
            match self.processor.as_str() {
                "" => String::new(),
                processor => format!("{processor}, "),
            },
            self.architecture,
            self.system,
            self.vector_units.join(", "),
            self.memory_gib.unwrap_or_default(),
            self.rustc,
            self.commit,
            self.load(),
        )
    }

    /// The name of the processor's class, for a folder of reports: `amd-zen4`; by family and model where the class has no
    /// name here, and by the architecture where there are none.
    pub fn class(&self) -> String {
        let words: Vec<&str> = self.processor.split(' ').collect();
        let [vendor, "family", family, "model", model] = words[..] else {
            return self.architecture.clone();
        };
        let (Ok(family), Ok(model)) = (family.parse::<u32>(), model.parse::<u32>()) else {
            return self.architecture.clone();
        };
        let (vendor, name) = match (vendor, family, model) {
            ("AuthenticAMD", 25, 16..=31 | 96..=175) => ("amd", Some("zen4")),
            ("AuthenticAMD", 25, _) => ("amd", Some("zen3")),
            ("AuthenticAMD", 26, _) => ("amd", Some("zen5")),
            ("AuthenticAMD", ..) => ("amd", None),
            ("GenuineIntel", 6, 85) => ("intel", Some("skylake-server")),
            ("GenuineIntel", 6, 106 | 108) => ("intel", Some("ice-lake-server")),
            ("GenuineIntel", 6, 143) => ("intel", Some("sapphire-rapids")),
            ("GenuineIntel", 6, 207) => ("intel", Some("emerald-rapids")),
            ("GenuineIntel", 6, 173 | 174) => ("intel", Some("granite-rapids")),
            ("GenuineIntel", ..) => ("intel", None),
            (other, ..) => (other, None),
        };
        match name {
            Some(name) => format!("{vendor}-{name}"),
            None => format!("{}-family{family}-model{model}", vendor.to_lowercase()),
        }
    }

    /// The load before the run, as a report tells it.
    pub fn load(&self) -> String {
        self.load_before
            .map_or_else(|| "unknown".to_owned(), |load| load.to_string())
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(workspace::root())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_have_classes() {
        let mut machine = Machine::look();
        for (processor, class) in [
            ("AuthenticAMD family 25 model 17", "amd-zen4"),
            ("AuthenticAMD family 25 model 1", "amd-zen3"),
            ("GenuineIntel family 6 model 143", "intel-sapphire-rapids"),
            ("GenuineIntel family 6 model 79", "intel-family6-model79"),
            ("unknown family unknown model unknown", "x86_64"),
            ("", "x86_64"),
        ] {
            machine.architecture = "x86_64".into();
            machine.processor = processor.into();
            assert_eq!(machine.class(), class);
        }
    }
}
