use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What SMT's blocks are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SmtScore {
    /// The mean magnitude of the gradient over batches and entries.
    #[default]
    AbsMean,
    /// The mean over the entries of the magnitude of the gradient's mean over the batches.
    MeanAbs,
}

/// Among what SMT's blocks are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SmtPools {
    /// Blocks of the attention's weights among each other, and blocks of all others: two pools, a budget for
    /// each.
    #[default]
    Separate,
    /// All blocks of the model.
    Mixed,
    /// Blocks of one weight.
    PerMatrix,
}

/// The shape of SMT's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SmtShape {
    /// Square.
    #[default]
    Block,
    /// Whole rows of the weight `[out, in]`.
    Row,
    /// Whole columns.
    Column,
}

/// The settings of SMT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SmtConfig {
    /// Share of the blocks of a pool that is trained.
    pub density: f64,
    /// Sides of a block. A side that does not divide the weight's gives way to its largest divisor
    /// below.
    pub block_size: usize,
    /// The blocks' shape.
    pub block_shape: SmtShape,
    /// What blocks are ranked by.
    pub score: SmtScore,
    /// Among what they are ranked.
    pub pools: SmtPools,
    /// Batches whose gradients they are ranked by.
    pub probe_batches: usize,
    /// Blocks of single modules, by name: what the ranking came to, in the files of trained adapters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("x-flag" = "")))]
    pub block_counts: BTreeMap<String, usize>,
}

impl Default for SmtConfig {
    fn default() -> Self {
        Self {
            density: 0.0084,
            block_size: 64,
            block_shape: SmtShape::Block,
            score: SmtScore::AbsMean,
            pools: SmtPools::Separate,
            probe_batches: 32,
            block_counts: BTreeMap::new(),
        }
    }
}

impl SmtConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "density",
        "block_size",
        "block_shape",
        "score",
        "pools",
        "probe_batches",
        "block_counts",
    ];
}
