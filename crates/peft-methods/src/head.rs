use burn::tensor::{Device, TensorData};
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, HostTensor, InitContext, Method, Target,
};
use serde_json::{Map, Value};

/// No adapter at all: only the task's head and other modules saved in full are trained.
///
/// What an adapted model is to be compared with. Hugging Face PEFT has no such type: the folder has
/// the form of its adapters, with a `peft_type` of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadMethod;

impl HeadMethod {
    pub(crate) const NAME: &str = "head";
    pub(crate) const PEFT_TYPE: &str = "HEAD";

    fn refusal(target: &Target) -> AdapterError {
        AdapterError::Config {
            method: Self::NAME.into(),
            problem: format!("it adapts no weight, `{}` neither", target.path),
            fix: "choose a method that does".into(),
        }
    }
}

impl Method for HeadMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn adapts_weights(&self) -> bool {
        false
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn init(&self, target: &Target, _: &InitContext) -> Result<DynAdapter, AdapterError> {
        Err(Self::refusal(target))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        Err(Self::refusal(target))
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[]
    }

    fn restore(
        &self,
        target: &Target,
        _: &Fields<HostTensor>,
        _: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        Err(Self::refusal(target))
    }

    fn export(
        &self,
        target: &Target,
        _: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        Err(Self::refusal(target))
    }
}
