use std::process::ExitCode;

use anyhow::Result;
use peft_run::DeviceChoice;

use super::say;

/// `peft devices`
pub fn devices() -> Result<ExitCode> {
    let all = [
        ("auto", DeviceChoice::Auto),
        ("cpu", DeviceChoice::Cpu),
        ("cuda", DeviceChoice::Cuda(0)),
        ("vulkan", DeviceChoice::Vulkan),
        ("metal", DeviceChoice::Metal),
        ("wgpu", DeviceChoice::Wgpu),
    ];
    for (name, choice) in all {
        match choice.select() {
            Ok(selected) => say(&format!("{name}\tavailable\t{}", selected.reason))?,
            Err(error) => say(&format!("{name}\tunavailable\t{error}"))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
