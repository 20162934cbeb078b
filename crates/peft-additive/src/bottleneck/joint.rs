//! A serial and a parallel module in one place.

use burn::{
    Tensor,
    module::Module,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterContext, AdapterError, AdapterSpec, Cost, DefaultTargets, DynAdapter, Fields, Hidden,
    HostTensor, InitContext, Method, SiteKind, SlotAdapter, Target, own_settings, settings_json,
};
#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Bottleneck, BottleneckInit, BottleneckInput, NonLinearity, adapter::cost,
    config::expect_factor, form::Form,
};

/// Parts of an adapter, which are parts of the names of its tensors.
const SERIAL: &str = "serial";
const PARALLEL: &str = "parallel";

/// The tensors of a file.
const TENSORS: [&str; 8] = [
    "serial.adapter_down.weight",
    "serial.adapter_down.bias",
    "serial.adapter_up.weight",
    "serial.adapter_up.bias",
    "parallel.adapter_down.weight",
    "parallel.adapter_down.bias",
    "parallel.adapter_up.weight",
    "parallel.adapter_up.bias",
];

/// The largest bottleneck that is taken for one.
const MOST: usize = 1 << 20;

/// A serial module and a parallel one at a feed-forward part `F` that reads `x`: `F + A_s(n) + s · A_p(x)`, where `n` is the
/// block's own norm of `F + x` where one follows, and else `F`.
#[derive(Module, Debug)]
pub struct SerialParallel {
    /// `A_s`
    pub serial: Option<Bottleneck>,
    /// `A_p`, with its scale
    pub parallel: Option<Bottleneck>,
}

impl SlotAdapter for SerialParallel {
    type Passing = Hidden;

    fn forward(&self, hidden: Hidden, _: &AdapterContext) -> Tensor<2> {
        let modules = [&self.serial, &self.parallel].into_iter().flatten();
        let added = modules.map(|module| module.added(&hidden));
        let all = added.reduce(|sum, one| sum + one);
        match all {
            Some(added) => hidden.x + added,
            None => hidden.x,
        }
    }

    fn reads_norm(&self) -> bool {
        self.serial.is_some()
    }

    fn cost(&self, widths: &[usize]) -> Cost {
        let modules = [&self.serial, &self.parallel].into_iter().flatten();
        joint_cost(modules.map(|module| module.cost(widths)))
    }
}

fn joint_cost(costs: impl Iterator<Item = Cost>) -> Cost {
    costs.fold(Cost::default(), |all, one| Cost {
        parameters: all.parameters + one.parameters,
        flops_per_row: all.flops_per_row + one.flops_per_row,
        saved_per_row: all.saved_per_row + one.saved_per_row,
    })
}

/// The settings of serial and parallel modules together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(default)]
pub struct SerialParallelConfig {
    /// Width of the serial module's bottleneck; 0 for none.
    pub serial_size: usize,
    /// Width of the parallel module's bottleneck; 0 for none.
    pub parallel_size: usize,
    /// The nonlinearity between the two projections.
    pub non_linearity: NonLinearity,
    /// Factor on what the parallel module adds.
    pub scaling: f64,
    /// Where the serial module starts; the parallel one starts without effect.
    pub init_weights: BottleneckInit,
}

impl Default for SerialParallelConfig {
    fn default() -> Self {
        Self {
            serial_size: 24,
            parallel_size: 24,
            non_linearity: NonLinearity::Relu,
            scaling: 4.0,
            init_weights: BottleneckInit::Zero,
        }
    }
}

impl SerialParallelConfig {
    /// Keys of `adapter_config.json` that this configuration understands.
    pub const KEYS: &'static [&'static str] = &[
        "serial_size",
        "parallel_size",
        "non_linearity",
        "scaling",
        "init_weights",
    ];

    /// The settings as a file holds them.
    pub fn to_json(&self) -> Map<String, Value> {
        settings_json(self)
    }

    fn check(&self) -> Result<(), AdapterError> {
        let fault = |problem: String| AdapterError::Config {
            method: SerialParallelMethod::NAME.into(),
            problem,
            fix: "use a size such as 24, and 0 for one of them at the most".into(),
        };
        let sizes = [self.serial_size, self.parallel_size];
        if sizes == [0, 0] {
            return Err(fault("both sizes are 0: nothing would be inserted".into()));
        }
        if let Some(size) = sizes.into_iter().find(|size| *size > MOST) {
            return Err(fault(format!("a bottleneck of {size} is none")));
        }
        expect_factor(SerialParallelMethod::NAME, self.scaling)
    }
}

/// AutoPEFT's serial and parallel modules together ([2301.12132](https://arxiv.org/abs/2301.12132)): see
/// [`SerialParallel`]. With one of the sizes 0 they are the serial module of Pfeiffer et al. or the parallel one of He et al.,
/// and no value of the other exists.
///
/// In a block that norms after its parts, `out = LN(A_s(LN(F + x)) + F + 4 · A_p(x) + x)`; in one that norms before them,
/// `out = x + F + A_s(F) + 4 · A_p(LN x)`, the norm that the feed-forward part reads.
#[derive(Debug, Clone)]
pub struct SerialParallelMethod {
    config: SerialParallelConfig,
}

impl SerialParallelMethod {
    /// The name of the method.
    pub const NAME: &'static str = "serial_parallel";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SERIAL_PARALLEL";

    /// The method with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: SerialParallelConfig) -> Result<Self, AdapterError> {
        config.check()?;
        Ok(Self { config })
    }

    /// The method with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(own_settings(Self::NAME, map, SerialParallelConfig::KEYS)?)
    }

    /// The serial and the parallel module.
    fn forms(&self) -> [Option<Form>; 2] {
        let config = &self.config;
        let serial = Form {
            size: config.serial_size,
            non_linearity: config.non_linearity,
            reads: BottleneckInput::Normed,
            scaling: 1.0,
            init: config.init_weights,
            part: Some(SERIAL),
            stream: 0,
        };
        let parallel = Form {
            size: config.parallel_size,
            reads: BottleneckInput::Residual,
            scaling: config.scaling,
            init: BottleneckInit::Mam,
            part: Some(PARALLEL),
            stream: 3,
            ..serial
        };
        [serial, parallel].map(|form| (form.size > 0).then_some(form))
    }

    fn made(
        &self,
        mut make: impl FnMut(Form) -> Result<Bottleneck, AdapterError>,
    ) -> Result<DynAdapter, AdapterError> {
        let [serial, parallel] = self.forms();
        Ok(DynAdapter::of_slot(SerialParallel {
            serial: serial.map(&mut make).transpose()?,
            parallel: parallel.map(&mut make).transpose()?,
        }))
    }
}

impl Method for SerialParallelMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        &[SiteKind::Slot]
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Named(&["beside_feed_forward"])
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        self.made(|form| Ok(form.fresh(target, start)))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let forms = self.forms();
        let forms = || forms.iter().flatten();
        Ok(AdapterSpec {
            cost: joint_cost(forms().map(|form| cost(target.in_features, form.size))),
            keeps_input: true,
            tensors: forms().flat_map(|form| form.tensors(target)).collect(),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &TENSORS
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        self.made(|form| form.restored(target, tensors, device))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut stored = Fields::new();
        for form in self.forms().iter().flatten() {
            form.export(target, &mut fields, &mut stored)?;
        }
        Ok(stored)
    }
}
