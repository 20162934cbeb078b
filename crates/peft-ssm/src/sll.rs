//! Low-rank updates of the large layers of a state-space model.

use std::sync::Arc;

use burn::tensor::{Device, TensorData};
use peft_core::{
    AdapterError, AdapterSpec, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext, Method,
    Site, SiteKind, Target, format::TargetModules,
};
use serde_json::{Map, Value};

/// SLL-LoRA (Halloran et al., [2406.00209](https://arxiv.org/abs/2406.00209)): LoRA on the table of the tokens, `in_proj`,
/// `x_proj` and `out_proj`, whose rank follows from the model's width `E` where none is given: 8 up to 768, 16 up to 1024, 32
/// up to 1536, 64 up to 2048 and 128 above.
///
/// Its files are LoRA's.
#[derive(Debug, Clone)]
pub struct SllLoraMethod {
    lora: Arc<dyn Method>,
}

impl SllLoraMethod {
    /// The name of the method.
    pub const NAME: &'static str = "sll_lora";

    /// LoRA with these targets and ranks.
    pub fn new(lora: Arc<dyn Method>) -> Self {
        Self { lora }
    }

    /// The rank of a model of a width.
    pub const fn rank(width: usize) -> usize {
        match width {
            ..=768 => 8,
            769..=1024 => 16,
            1025..=1536 => 32,
            1537..=2048 => 64,
            _ => 128,
        }
    }
}

impl Method for SllLoraMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        self.lora.peft_type()
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        self.lora.site_kinds()
    }

    fn config(&self) -> Map<String, Value> {
        self.lora.config()
    }

    fn config_of_model(
        &self,
        sites: &[Site],
        _: &dyn Fn(DefaultTargets) -> TargetModules,
    ) -> Map<String, Value> {
        let table = sites.iter().find(|site| site.kind == SiteKind::Embedding);
        let width = table.and_then(|site| site.shape.last());
        let rank = width.map(|width| Self::rank(*width));
        // A scale of 1, as the settings have where no rank is known.
        let both = rank.map(|rank| [("r", rank), ("lora_alpha", rank)]);
        let both = both.into_iter().flatten();
        both.map(|(key, value)| (key.to_owned(), value.into()))
            .collect()
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Named(&["embeddings", "in_proj", "x_proj", "out_proj"])
    }

    fn also_adapts(&self, sites: &[Site]) -> Result<Vec<String>, AdapterError> {
        self.lora.also_adapts(sites)
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        self.lora.init(target, start)
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        self.lora.describe(target)
    }

    fn evaluation(&self, target: &Target) -> Result<Option<String>, AdapterError> {
        self.lora.evaluation(target)
    }

    fn suffixes(&self) -> &'static [&'static str] {
        self.lora.suffixes()
    }

    fn expect_own(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
    ) -> Result<(), AdapterError> {
        self.lora.expect_own(target, tensors)
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        self.lora.restore(target, tensors, device)
    }

    fn export(
        &self,
        target: &Target,
        fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        self.lora.export(target, fields)
    }

    fn learning_rate_factor(&self, field: &str, step: u64, total: u64) -> f64 {
        self.lora.learning_rate_factor(field, step, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_released_models() {
        let widths = [768, 1024, 1536, 2048, 2560];
        assert_eq!(widths.map(SllLoraMethod::rank), [8, 16, 32, 64, 128]);
    }
}
