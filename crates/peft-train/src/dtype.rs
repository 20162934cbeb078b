//! The type of frozen matrices.

use burn::tensor::FloatDType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A type in which frozen matrices can be kept.
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

impl From<BaseDtype> for FloatDType {
    fn from(dtype: BaseDtype) -> Self {
        match dtype {
            BaseDtype::F32 => Self::F32,
            BaseDtype::F16 => Self::F16,
            BaseDtype::Bf16 => Self::BF16,
        }
    }
}
