//! The type of frozen matrices.

use std::str::FromStr;

use burn::tensor::FloatDType;
use peft_format::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
