//! A family of adapters, seen from the whole model.

use std::{collections::BTreeMap, fmt::Debug};

use burn::{
    Tensor,
    tensor::{Device, FloatDType, TensorData},
};
use peft_format::TensorInfo;
use serde_json::{Map, Value};

use crate::{AdapterError, Cost, DynAdapter, HostTensor};

/// One weight to adapt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Path of the module in the checkpoint's names, such as
    /// `bert.encoder.layer.0.attention.self.query`.
    pub path: String,
    /// Width of the input.
    pub in_features: usize,
    /// Width of the output.
    pub out_features: usize,
    /// Element type of the adapter's own parameters.
    pub dtype: FloatDType,
}

/// Values by name: an adapter's fields, or the suffixes of its tensors in a file.
pub type Fields<T> = BTreeMap<String, T>;

/// An adapter by its sizes: what is known of it before it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSpec {
    /// What it costs.
    pub cost: Cost,
    /// Whether its gradients need the layer's input.
    pub keeps_input: bool,
    /// Its tensors in a file, by suffix.
    pub tensors: Fields<TensorInfo>,
}

/// A family of adapters: how one is made for a target, and what its files hold.
///
/// A method is stateless; all that training changes lives in the adapters' parameters. Files are
/// described in PyTorch's layout (`[out, in]`), fields in the adapter's own.
pub trait Method: Debug + Send + Sync {
    /// The name on the command line and in study tables, such as `lora`.
    fn name(&self) -> &'static str;

    /// `peft_type` in `adapter_config.json`, such as `LORA`.
    fn peft_type(&self) -> &'static str;

    /// The method's own keys of `adapter_config.json`: the fewest that reproduce it.
    fn config(&self) -> Map<String, Value>;

    /// A fresh adapter of `weight` (`[in, out]`), a function of `seed` and the target's path only.
    ///
    /// # Errors
    /// If the method cannot adapt this target as configured.
    fn init(
        &self,
        target: &Target,
        weight: &Tensor<2>,
        seed: u64,
    ) -> Result<DynAdapter, AdapterError>;

    /// What [`init`](Self::init) would make, without the weight.
    ///
    /// # Errors
    /// If the method cannot adapt this target as configured.
    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError>;

    /// Suffixes of this method's tensors in a file, such as `lora_A.weight`.
    fn suffixes(&self) -> &'static [&'static str];

    /// The adapter of a file: tensors by suffix.
    ///
    /// # Errors
    /// If tensors are missing, of the wrong shape, or not finite.
    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError>;

    /// The tensors of a file: from the values of the adapter's fields, by suffix.
    ///
    /// # Errors
    /// If a field is missing.
    fn export(
        &self,
        target: &Target,
        fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError>;

    /// Factor on the learning rate of one of the adapter's fields (LoRA+ and its like).
    fn learning_rate_factor(&self, _field: &str) -> f64 {
        1.0
    }
}
