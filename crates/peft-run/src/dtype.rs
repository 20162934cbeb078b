//! How frozen matrices are kept.

use std::str::FromStr;

use burn::tensor::{Device, FloatDType};
use peft_core::kernels::{self, Compute, has_blocks};
use peft_format::{BlockType, Dtype};
use peft_models::{ModelFolder, Storage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RunError;

/// A type in which frozen matrices can be kept, and merged models written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BaseDtype {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// bfloat16: the range of `f32` with 8 bits of mantissa.
    Bf16,
}

impl FromStr for BaseDtype {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err("the types are f32, f16 and bf16".into()),
        }
    }
}

impl From<BaseDtype> for FloatDType {
    fn from(dtype: BaseDtype) -> Self {
        match dtype {
            BaseDtype::F32 => Self::F32,
            BaseDtype::F16 => Self::F16,
            BaseDtype::Bf16 => Self::BF16,
        }
    }
}

impl From<BaseDtype> for Dtype {
    fn from(dtype: BaseDtype) -> Self {
        match dtype {
            BaseDtype::F32 => Self::F32,
            BaseDtype::F16 => Self::F16,
            BaseDtype::Bf16 => Self::BF16,
        }
    }
}

/// A type in which products are computed on the CPU; their sums, and all that is no product, are of single precision in
/// any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ComputeType {
    /// Single precision.
    #[default]
    F32,
    /// Factors rounded to bfloat16.
    Bf16,
}

impl FromStr for ComputeType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err("the types are f32 and bf16".into()),
        }
    }
}

impl From<ComputeType> for Compute {
    fn from(compute: ComputeType) -> Self {
        match compute {
            ComputeType::F32 => Self::F32,
            ComputeType::Bf16 => Self::Bf16,
        }
    }
}

/// A type in which products are computed on the CPU while a text is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GenerationCompute {
    /// Single precision.
    #[default]
    F32,
    /// Factors rounded to bfloat16, but in products of up to four rows.
    Bf16,
    /// What is multiplied with blocks of the types Q4_0, Q4_1, Q8_0 and Q4_K rounded to whole numbers of 8 bits.
    Int8,
}

impl FromStr for GenerationCompute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "int8" => Ok(Self::Int8),
            _ => Err("the types are f32, bf16 and int8".into()),
        }
    }
}

impl From<GenerationCompute> for Compute {
    fn from(compute: GenerationCompute) -> Self {
        match compute {
            GenerationCompute::F32 => Self::F32,
            GenerationCompute::Bf16 => Self::Bf16,
            GenerationCompute::Int8 => Self::Int8,
        }
    }
}

/// Products of this process are of a type while this lives, and then again of what they were of before.
#[derive(Debug)]
pub struct Computing {
    before: Compute,
}

impl Computing {
    /// From now on.
    pub fn begin(compute: impl Into<Compute>) -> Self {
        let before = kernels::compute();
        kernels::set_compute(compute.into());
        Self { before }
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        kernels::set_compute(self.before);
    }
}

/// A type in which the weights of frozen linear layers can be quantised as they are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quantize {
    /// NF4, the type of QLoRA: 64 values share a scale, 4.5 bits a value.
    Nf4,
    /// Q8_0 of GGUF files: 32 values share a scale, 8.5 bits a value.
    Int8,
    /// Q4_0 of GGUF files: 32 values share a scale, 4.5 bits a value.
    Int4,
}

impl FromStr for Quantize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "nf4" => Ok(Self::Nf4),
            "int8" => Ok(Self::Int8),
            "int4" => Ok(Self::Int4),
            _ => Err("the types are nf4, int8 and int4".into()),
        }
    }
}

impl From<Quantize> for BlockType {
    fn from(quantize: Quantize) -> Self {
        match quantize {
            Quantize::Nf4 => Self::Nf4,
            Quantize::Int8 => Self::Q8_0,
            Quantize::Int4 => Self::Q4_0,
        }
    }
}

/// How the frozen matrices of a base are kept: as the checkpoint has them where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BaseOptions {
    /// As floats of this type.
    pub dtype: Option<BaseDtype>,
    /// The weights of linear layers in blocks of this type.
    pub quantize: Option<Quantize>,
}

impl BaseOptions {
    /// Let a model be loaded so, on a device.
    ///
    /// # Errors
    /// If both are asked for, the checkpoint is quantised already, or the device cannot multiply with blocks.
    pub fn apply(self, folder: &mut ModelFolder, device: &Device) -> Result<(), RunError> {
        if let Some(dtype) = self.dtype {
            folder.set_base_dtype(dtype.into());
        }
        let Some(quantize) = self.quantize else {
            return Ok(());
        };
        let refuse =
            |problem: String, fix: &str| Err(RunError::setting("`quantize`", problem, fix));
        if self.dtype.is_some() {
            return refuse(
                "`base_dtype` asks for floats".into(),
                "leave one of the two out",
            );
        }
        if folder.checkpoint().is_quantised() {
            let path = folder.path().display();
            return refuse(
                format!("{path} is quantised already"),
                "leave it out: the blocks of the file are used as they are",
            );
        }
        if !has_blocks(device) {
            return refuse(
                "this device has no products with quantised weights".into(),
                "use the CPU, or half precision with `base_dtype`",
            );
        }
        let kind = BlockType::from(quantize);
        folder.set_quantize(kind);
        let mut parts = folder.description().parts();
        if !parts.any(|(_, part)| folder.storage(&part, device) == Storage::Made(kind)) {
            drop(parts);
            return refuse(
                format!(
                    "no linear layer has rows of whole blocks of {} values, as {kind} needs them",
                    kind.block_len()
                ),
                "leave it out",
            );
        }
        Ok(())
    }
}
