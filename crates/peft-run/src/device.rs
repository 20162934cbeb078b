//! Which device computes.

use std::{fmt, str::FromStr};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use peft_core::kernels::{Compute, bf16_units, int8_units};

use crate::RunError;

/// A device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceChoice {
    /// The best that is compiled in and present.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU.
    Cuda(usize),
    /// A GPU through Vulkan.
    Vulkan,
    /// A GPU through Metal.
    Metal,
    /// A GPU through WebGPU's shading language.
    Wgpu,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "vulkan" => Ok(Self::Vulkan),
            "metal" => Ok(Self::Metal),
            "wgpu" => Ok(Self::Wgpu),
            other => match other.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(index)) => Ok(Self::Cuda(index)),
                _ => Err(format!(
                    "`{other}` is not a device: use auto, cpu, cuda, cuda:N, vulkan, metal or wgpu"
                )),
            },
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Vulkan => f.write_str("vulkan"),
            Self::Metal => f.write_str("metal"),
            Self::Wgpu => f.write_str("wgpu"),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A device, and why it.
#[derive(Debug, Clone)]
pub struct SelectedDevice {
    /// The device, without autodiff.
    pub device: Device,
    /// Its name, never [`DeviceChoice::Auto`].
    pub choice: DeviceChoice,
    /// Its kind: devices of one kind compute the same bits, processors as far as they have the same vector
    /// instructions.
    pub kind: &'static str,
    /// What it is and why it was chosen.
    pub reason: String,
}

impl SelectedDevice {
    /// Say in what type it computes products.
    ///
    /// # Errors
    /// If it has no choice of it.
    pub fn computing(mut self, compute: impl Into<Compute>) -> Result<Self, RunError> {
        let compute = compute.into();
        if compute == Compute::F32 {
            return Ok(self);
        }
        if self.kind != "cpu (flex)" {
            return Err(RunError::setting(
                "`compute`",
                format!("{} computes in the types of its tensors", self.kind),
                "leave it out, or use `device` cpu",
            ));
        }
        let (name, units) = match compute {
            Compute::Int8 => ("int8", int8_units()),
            _ => ("bf16", bf16_units()),
        };
        self.reason += &match units {
            Some(units) => format!(", products in {name} by {units}"),
            None => format!(
                ", products in {name}, for which this processor has no units: f32 may be faster"
            ),
        };
        Ok(self)
    }
}

impl DeviceChoice {
    /// Find the device. A GPU's driver is looked for first, for Burn panics without one.
    ///
    /// # Errors
    /// If the device is not compiled in or has no driver.
    pub fn select(self) -> Result<SelectedDevice, RunError> {
        match self {
            Self::Auto => auto(),
            Self::Cpu => cpu("asked for"),
            Self::Cuda(index) => cuda(index),
            Self::Vulkan => gpu(self, "vulkan", vulkan()),
            Self::Metal => gpu(self, "metal", metal()),
            Self::Wgpu => gpu(self, "wgpu", wgpu()),
        }
    }
}

fn auto() -> Result<SelectedDevice, RunError> {
    if cfg!(feature = "cuda") && has_library(CUDA) {
        let mut selected = cuda(0)?;
        selected.reason = "cuda:0: a CUDA driver is present".into();
        return Ok(selected);
    }
    cpu(if cfg!(feature = "cuda") {
        "auto: no CUDA driver found"
    } else {
        "auto: the only device that this binary chooses by itself"
    })
}

fn cpu(why: &str) -> Result<SelectedDevice, RunError> {
    #[cfg(feature = "flex")]
    {
        Ok(SelectedDevice {
            device: Device::flex(),
            choice: DeviceChoice::Cpu,
            kind: "cpu (flex)",
            reason: format!("cpu (flex), {why}"),
        })
    }
    #[cfg(all(feature = "ndarray", not(feature = "flex")))]
    {
        #[allow(deprecated)] // Burn deprecates it as a whole, but still ships it.
        let device = Device::ndarray();
        Ok(SelectedDevice {
            device,
            choice: DeviceChoice::Cpu,
            kind: "cpu (ndarray)",
            reason: format!("cpu (ndarray), {why}"),
        })
    }
    #[cfg(not(any(feature = "flex", feature = "ndarray")))]
    {
        let _ = why;
        Err(not_compiled("cpu", "flex"))
    }
}

const CUDA: &[&str] = &["libcuda.so.1", "nvcuda.dll"];

fn cuda(index: usize) -> Result<SelectedDevice, RunError> {
    let name = format!("cuda:{index}");
    #[cfg(feature = "cuda")]
    {
        if !has_library(CUDA) {
            return Err(RunError::Device {
                device: name,
                problem: "no CUDA driver (libcuda) found".into(),
                fix: "install NVIDIA's driver, or use `device` cpu".into(),
            });
        }
        Ok(SelectedDevice {
            device: Device::cuda(index),
            choice: DeviceChoice::Cuda(index),
            kind: "cuda",
            reason: format!("{name}, asked for"),
        })
    }
    #[cfg(not(feature = "cuda"))]
    {
        Err(not_compiled(&name, "cuda"))
    }
}

fn gpu(
    choice: DeviceChoice,
    name: &'static str,
    device: Option<Device>,
) -> Result<SelectedDevice, RunError> {
    let Some(device) = device else {
        return Err(not_compiled(name, name));
    };
    let vulkan = ["libvulkan.so.1", "vulkan-1.dll"];
    if !cfg!(target_os = "macos") && !has_library(&vulkan) {
        return Err(RunError::Device {
            device: name.to_owned(),
            problem: "no Vulkan loader (libvulkan) found".into(),
            fix: "install the GPU's Vulkan driver, or use `device` cpu".into(),
        });
    }
    Ok(SelectedDevice {
        device,
        choice,
        kind: name,
        reason: format!("{name}, asked for"),
    })
}

fn vulkan() -> Option<Device> {
    #[cfg(feature = "vulkan")]
    return Some(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice));
    #[cfg(not(feature = "vulkan"))]
    None
}

fn metal() -> Option<Device> {
    #[cfg(feature = "metal")]
    return Some(Device::metal(burn::tensor::DeviceKind::DefaultDevice));
    #[cfg(not(feature = "metal"))]
    None
}

fn wgpu() -> Option<Device> {
    #[cfg(feature = "wgpu")]
    return Some(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice));
    #[cfg(not(feature = "wgpu"))]
    None
}

fn not_compiled(device: &str, feature: &str) -> RunError {
    RunError::Device {
        device: device.to_owned(),
        problem: "this binary was built without it".into(),
        fix: format!("build with `--features {feature}`, or use `device` cpu"),
    }
}

/// Whether the system's loader would find one of these libraries in its usual places.
fn has_library(names: &[&str]) -> bool {
    let listed = std::env::var_os("LD_LIBRARY_PATH");
    let mut folders: Vec<std::path::PathBuf> = listed
        .iter()
        .flat_map(|paths| std::env::split_paths(paths))
        .collect();
    folders.extend(
        [
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/lib/x86_64-linux-gnu",
            "/usr/lib",
            "/usr/lib64",
            "/lib64",
            "/usr/local/lib",
            "/usr/local/nvidia/lib64",
            "/usr/lib/wsl/lib",
            "/run/opengl-driver/lib",
            "C:\\Windows\\System32",
        ]
        .map(Into::into),
    );
    folders
        .iter()
        .any(|folder| names.iter().any(|name| folder.join(name).exists()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed() {
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        assert_eq!("cpu".parse(), Ok(DeviceChoice::Cpu));
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(1)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("cuda:x".parse::<DeviceChoice>().is_err());
        assert!(
            "tpu"
                .parse::<DeviceChoice>()
                .unwrap_err()
                .contains("auto, cpu")
        );
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_compiled_in_says_how_to_get_it() {
        let error = DeviceChoice::Cuda(0).select().unwrap_err().to_string();
        assert!(error.contains("--features cuda"), "{error}");
    }
}
