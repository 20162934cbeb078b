//! A family of adapters, seen from the whole model.

use std::{collections::BTreeMap, fmt::Debug};

use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use indexmap::IndexMap;
use peft_format::{TargetModules, TensorInfo};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    AdapterError, AfterStep, Common, Cost, DynAdapter, GradientMoments, GradientWishes, HostTensor,
    PhaseSpec, Site, SiteKind, Target, WarmUpChoice, Warmed, WeightGradients,
};

/// What a fresh adapter may depend on, beside the path of its target.
#[derive(Debug, Clone, Copy)]
pub struct InitContext<'a> {
    /// The pre-trained weight, `[in, out]`; of another site its value seen as a
    /// [matrix](crate::matrix_shape), of a slot nothing.
    pub weight: &'a Tensor<2>,
    /// The gradient of the loss to it, `[in, out]`, summed over a few batches.
    pub gradient: Option<&'a Tensor<2>>,
    /// The sum of the gradients' magnitudes, entry by entry.
    pub magnitude: Option<&'a Tensor<2>>,
    /// The second moments of such gradients.
    pub moments: Option<&'a GradientMoments>,
    /// The model's largest table of vectors, `[entries, width]`, for a method that [wants it](Method::wants_vocabulary).
    pub vocabulary: Option<&'a Tensor<2>>,
    /// What the method [allotted](Method::allot) to this target.
    pub allotted: Option<usize>,
    /// Seed of everything random.
    pub seed: u64,
}

/// What a method adapts where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultTargets {
    /// Queries and values, as PEFT.
    Attention,
    /// The linear layers of the feed-forward blocks.
    FeedForward,
    /// All linear layers but the head.
    AllLinear,
    /// What the attention reads and the feed-forward part computes: keys, values (with the queries where they are in one
    /// matrix) and the [inner](Self::Inner) layers; of a state space what makes its input and output matrices, too.
    KeysValuesInner,
    /// The layers that read a feed-forward part's inner activation, and of a state space its output projection.
    Inner,
    /// All norms.
    Norms,
    /// Sites whose paths end in these names: slots and parameters have the same in all families.
    Named(&'static [&'static str]),
}

/// A method's own settings out of an `adapter_config.json`; absent keys take the defaults of `C`, and
/// so do those that are null.
///
/// # Errors
/// If a value has the wrong type.
pub fn own_settings<C: DeserializeOwned>(
    method: &str,
    fields: &Map<String, Value>,
    keys: &[&str],
) -> Result<C, AdapterError> {
    let own = fields
        .iter()
        .filter(|(key, value)| keys.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    serde_json::from_value(Value::Object(own)).map_err(|error| AdapterError::Config {
        method: method.to_owned(),
        problem: error.to_string(),
        fix: "correct the value".into(),
    })
}

/// A method's settings as an `adapter_config.json` holds them: those that are not null.
///
/// # Panics
/// If they are no JSON object, as every struct of plain values is.
pub fn settings_json(settings: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(mut map)) => {
            map.retain(|_, value| !value.is_null());
            map
        }
        _ => panic!("settings are a struct of plain values"),
    }
}

/// Values by name: an adapter's fields, or the suffixes of its tensors in a file.
pub type Fields<T> = BTreeMap<String, T>;

/// An adapter by its sizes: what is known of it before it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSpec {
    /// What it costs: its parameters exactly; the rest at its most, where it depends on the weight.
    pub cost: Cost,
    /// Whether its gradients need the layer's input.
    pub keeps_input: bool,
    /// Its tensors in a file, by suffix.
    pub tensors: Fields<TensorInfo>,
}

/// A family of adapters: how one is made for a target, and what its files hold.
///
/// A method is stateless; all that training changes lives in the adapters' parameters, and in the
/// memory that the trainer keeps for it. Files are described in PyTorch's layout (`[out, in]`), fields
/// in the adapter's own.
pub trait Method: Debug + Send + Sync {
    /// The name on the command line and in study tables, such as `lora`.
    fn name(&self) -> &'static str;

    /// `peft_type` in `adapter_config.json`, such as `LORA`.
    fn peft_type(&self) -> &'static str;

    /// Whether it adapts anything at all. One that does not is attached to nothing, and only modules
    /// saved in full are trained.
    fn adapts_weights(&self) -> bool {
        true
    }

    /// The kinds of sites that it can adapt; targets are looked for among these only.
    fn site_kinds(&self) -> &'static [SiteKind] {
        SiteKind::LINEAR
    }

    /// The method's own keys of `adapter_config.json`: the fewest that reproduce it.
    fn config(&self) -> Map<String, Value>;

    /// Keys of the configuration that follow from the sites of the base, by the checkpoint's names (the states of a
    /// state-space model), or from what its family calls the modules of a kind, which `named` tells (IA3's feed-forward
    /// modules). A value that is given has precedence.
    fn config_of_model(
        &self,
        _sites: &[Site],
        _named: &dyn Fn(DefaultTargets) -> TargetModules,
    ) -> Map<String, Value> {
        Map::new()
    }

    /// The method of a part of its adapters, by the name that they [tell](DynAdapter::method), where it is made of several.
    fn part(&self, _name: &str) -> Option<&dyn Method> {
        None
    }

    /// Keys of the configuration that name what the parts of it adapt where they say nothing; `targets` tells what that
    /// means on the base, in the layers that a part names (none: in all).
    fn config_of_targets(
        &self,
        _targets: &dyn Fn(DefaultTargets, &[usize]) -> TargetModules,
    ) -> Map<String, Value> {
        Map::new()
    }

    /// The sites that it adapts by its own settings, by the checkpoint's names and in the order of `sites`; `None` where
    /// the run's targets say. `heads` are the modules that `all-linear` passes over.
    ///
    /// # Errors
    /// If its settings name something that is not there, or one thing twice.
    fn own_targets(
        &self,
        _sites: &[Site],
        _heads: &[&str],
    ) -> Result<Option<Vec<String>>, AdapterError> {
        Ok(None)
    }

    /// Keys of the configuration that follow from the number of steps of a run (AdaLoRA's schedule).
    ///
    /// # Errors
    /// If the method cannot be trained for so many steps as configured.
    fn config_of_run(&self, _steps: u64) -> Result<Map<String, Value>, AdapterError> {
        Ok(Map::new())
    }

    /// Keys of the configuration that only trained adapters tell (AdaLoRA's ranks): from the values of
    /// their fields, by the checkpoint's names of their modules.
    fn config_of_adapters(
        &self,
        _modules: &BTreeMap<String, Fields<TensorData>>,
    ) -> Map<String, Value> {
        Map::new()
    }

    /// What it wants of the gradients of the weights that it is to adapt.
    fn gradients(&self) -> GradientWishes {
        GradientWishes::default()
    }

    /// The phases of a run, in their order; the last trains this method's adapters.
    fn phases(&self) -> Vec<PhaseSpec> {
        let batches = self.gradients().batches;
        let probe = (batches > 0).then_some(PhaseSpec::Probe { batches });
        probe.into_iter().chain([PhaseSpec::Train]).collect()
    }

    /// Choose what to train by what a warm-up changed: see [`PhaseSpec::Choose`].
    ///
    /// # Errors
    /// If nothing can be chosen by it.
    fn choose(&self, _warmed: &Warmed) -> Result<WarmUpChoice, AdapterError> {
        Ok(WarmUpChoice::new())
    }

    /// This method with what it [chose](Self::choose); `None` if its adapters do not depend on that.
    ///
    /// # Errors
    /// If the choice is not one of this method's.
    fn with_choice(&self, _chosen: &WarmUpChoice) -> Result<Option<Box<dyn Method>>, AdapterError> {
        Ok(None)
    }

    /// Whether fresh adapters start at vectors of the model's tokens.
    fn wants_vocabulary(&self) -> bool {
        false
    }

    /// Rows that its adapters put before those of every sequence, of whose positions a model has only so many.
    fn rows_before(&self) -> usize {
        0
    }

    /// Positions that its adapters take before a sequence's own without rows there, in a model that goes from token to token.
    fn positions_before(&self) -> usize {
        0
    }

    /// The method of adapters that are read from files, where those are others than fresh ones: without what they were trained
    /// through (the network that makes a prompt of P-tuning).
    fn of_files(&self) -> Option<Box<dyn Method>> {
        None
    }

    /// How much of a budget that is shared out over the whole model goes to each target, in units of the
    /// method's own, by their paths; a target with nothing gets no adapter. `None` if every target has
    /// its own budget.
    ///
    /// # Errors
    /// If the method lacks what it shares out by.
    fn allot(
        &self,
        _targets: &[Target],
        _gradients: Option<&WeightGradients>,
    ) -> Result<Option<BTreeMap<String, usize>>, AdapterError> {
        Ok(None)
    }

    /// Settings with which it adapts its targets and [nothing beside them](Self::also_adapts).
    fn targets_only(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Whether how many values a target gets is known only from gradients, which [`allot`](Self::allot) compares over the
    /// whole model: [`describe`](Self::describe) then tells of a target by itself, and a file may hold more or fewer.
    fn counts_need_gradients(&self) -> bool {
        false
    }

    /// What it adapts where nothing is said.
    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Attention
    }

    /// Refuse a model of which the sites, by the checkpoint's names, show that the method has no meaning for its kind: where
    /// more can be said than that no target matches.
    ///
    /// # Errors
    /// If it is such a model.
    fn fits(&self, _sites: &[Site]) -> Result<(), AdapterError> {
        Ok(())
    }

    /// Refuse targets of which it could make no adapters together, though each of them could be one's: before a run takes its
    /// first step.
    ///
    /// # Errors
    /// If these are such targets.
    fn fits_targets(&self, _targets: &[&Site]) -> Result<(), AdapterError> {
        Ok(())
    }

    /// Sites that it adapts whatever the targets are, of those of a model by the checkpoint's names and in its
    /// order: tables of which single rows are trained.
    ///
    /// # Errors
    /// If its settings name a site that is not there.
    fn also_adapts(&self, _sites: &[Site]) -> Result<Vec<String>, AdapterError> {
        Ok(Vec::new())
    }

    /// A fresh adapter, a function of what is given only.
    ///
    /// # Errors
    /// If the method cannot adapt this target as configured.
    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError>;

    /// The same where the other targets are known, of which the widest are `widest` (input, output):
    /// for adapters that share something with one another.
    ///
    /// # Errors
    /// If the method cannot adapt this target as configured.
    fn init_among(
        &self,
        target: &Target,
        start: &InitContext,
        _widest: [usize; 2],
    ) -> Result<DynAdapter, AdapterError> {
        self.init(target, start)
    }

    /// What [`init`](Self::init) would make, without the weight.
    ///
    /// # Errors
    /// If the method cannot adapt this target as configured.
    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError>;

    /// How the product with the adapted weight is worked out, in a few words, where that is a choice.
    ///
    /// # Errors
    /// If the method cannot adapt this target as configured.
    fn evaluation(&self, _target: &Target) -> Result<Option<String>, AdapterError> {
        Ok(None)
    }

    /// The tensors that a file holds once for all targets, of which the widest are `widest`, by name.
    fn describe_shared(&self, _widest: [usize; 2]) -> Fields<TensorInfo> {
        Fields::new()
    }

    /// Of the values that [`describe`](Self::describe) counts, those of parameters that adapters of other
    /// targets are copies of, by the [name of the parameter](crate::WeightAdapter::tie).
    ///
    /// # Errors
    /// If the method cannot adapt this target as configured.
    fn tied(&self, _target: &Target) -> Result<Fields<usize>, AdapterError> {
        Ok(Fields::new())
    }

    /// Suffixes of this method's tensors in a file, such as `lora_A.weight`.
    fn suffixes(&self) -> &'static [&'static str];

    /// What files put before the suffixes of a site's tensors: its path, unless they have them by the site's module (the
    /// parameters of norms in PEFT's files).
    fn file_module<'a>(&self, path: &'a str) -> &'a str {
        path
    }

    /// The inverse of [`file_module`](Self::file_module): the path of the site that has the tensor of a suffix.
    fn site_of(&self, file_module: &str, _suffix: &str) -> String {
        file_module.to_owned()
    }

    /// Those of them that modules of one [`layer_type`](crate::layer_type) may share: where all have the
    /// same, a file holds it once, with the first of the modules.
    fn shared_suffixes(&self) -> &'static [&'static str] {
        &[]
    }

    /// Names of the tensors that a file may hold once for all targets, such as `vera_A`.
    fn shared_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Names of tensors that a file may hold for the model as a whole, without anything before them, such as PEFT's
    /// `prompt_embeddings`.
    fn whole_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// The tensors of the sites, by their paths, out of those that a file holds for the model as a whole. `sites` are those of
    /// the base that the method can adapt, by the checkpoint's names.
    ///
    /// # Errors
    /// If they are not those of such a base.
    fn spread(
        &self,
        _whole: &Fields<HostTensor>,
        _sites: &[Site],
    ) -> Result<BTreeMap<String, Fields<HostTensor>>, AdapterError> {
        Ok(BTreeMap::new())
    }

    /// The inverse of [`spread`](Self::spread): what a file holds for the model as a whole, taken out of the tensors of the
    /// `modules`. Nothing where that has no form for them.
    ///
    /// # Errors
    /// If tensors do not fit one another.
    fn gather(
        &self,
        _modules: &mut IndexMap<String, Fields<HostTensor>>,
        _sites: &[Site],
    ) -> Result<Fields<HostTensor>, AdapterError> {
        Ok(Fields::new())
    }

    /// Refuse tensors that are another program's, whole in themselves, but not what this method reads: where
    /// more can be said of them than that their shapes are others.
    ///
    /// # Errors
    /// If they are.
    fn expect_own(
        &self,
        _target: &Target,
        _tensors: &Fields<HostTensor>,
    ) -> Result<(), AdapterError> {
        Ok(())
    }

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

    /// The same where the other targets are known, and what the file holds for all of them.
    ///
    /// # Errors
    /// If tensors are missing, of the wrong shape, or not finite.
    fn restore_among(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        _common: &Common,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        self.restore(target, tensors, device)
    }

    /// The tensors of a file: from the values of the adapter's fields, by suffix.
    ///
    /// # Errors
    /// If a field is missing.
    fn export(
        &self,
        target: &Target,
        fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError>;

    /// Factor on the learning rate of a field in the step after `step` of `total`: for methods that
    /// train their fields in turns (LoCA). A field of factor 0 is left as it is, its optimiser's state
    /// too.
    fn learning_rate_factor(&self, _field: &str, _step: u64, _total: u64) -> f64 {
        1.0
    }

    /// Whether [`after_step`](Self::after_step) has anything to do after step `step` of `total`; nothing
    /// is gathered for it otherwise.
    fn acts_after(&self, _step: u64, _total: u64) -> bool {
        false
    }

    /// Look at the adapters after an optimiser step, and change them: for methods that prune, grow or
    /// select again while they train (AdaLoRA, SparseGrad). What it depends on beside the arguments
    /// belongs into [`AdapterStep::memory`](crate::AdapterStep), so that a resumed run has it.
    ///
    /// # Errors
    /// If the method cannot go on.
    fn after_step(&self, _now: &mut AfterStep) -> Result<(), AdapterError> {
        Ok(())
    }

    /// Batches over which [`look`](Self::look) wants the gradients of the weights after step `step` of
    /// `total`; 0 if it is not to be called.
    fn looks_after(&self, _step: u64, _total: u64) -> usize {
        0
    }

    /// Look at the gradients of the loss to the adapted weights, `W + ΔW` as a whole, by the Burn paths of
    /// their modules, and change the adapters: for methods that choose bases or entries anew among all
    /// (SparseGrad, SpIEL). Fields come without gradients of their own.
    ///
    /// # Errors
    /// If the method cannot go on.
    fn look(&self, _now: &mut AfterStep, _gradients: &WeightGradients) -> Result<(), AdapterError> {
        Ok(())
    }
}
