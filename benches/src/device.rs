//! What a driver is told of the device.

use burn::tensor::Device;
use peft_run::SelectedDevice;
use serde_json::{Value, json};

/// Its kind, the adapter as it names itself, whether that is a program on the processor, as Mesa's lavapipe is, and
/// whether this binary tries more than one kernel.
pub fn described(selected: &SelectedDevice) -> Value {
    let (name, software) = adapter(&selected.device).unzip();
    json!({
        "kind": selected.kind,
        "name": name,
        "software": software.unwrap_or(false),
        "autotune": cfg!(feature = "autotune"),
    })
}

/// Opens the device: where its driver does not work, Burn panics.
#[cfg(any(
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda"
))]
fn adapter(device: &Device) -> Option<(String, bool)> {
    let identity = device.identity()?;
    Some((identity.name, identity.physical.is_none()))
}

#[cfg(not(any(
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda"
)))]
fn adapter(_: &Device) -> Option<(String, bool)> {
    None
}
