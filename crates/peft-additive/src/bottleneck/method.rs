use burn::tensor::{Device, TensorData};
use peft_core::{
    AdapterError, AdapterSpec, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext, Method,
    SiteKind, Target,
};
use serde_json::{Map, Value};

use super::{
    BottleneckConfig,
    adapter::cost,
    form::{Form, TENSORS},
};

/// Where a bottleneck module stands by itself, and how it is set unless it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BottleneckKind {
    /// After a part of the block, reading what that gives.
    Serial,
    /// Beside the feed-forward part, reading what that reads ([2110.04366](https://arxiv.org/abs/2110.04366)).
    Parallel,
}

impl BottleneckKind {
    /// The name of the method.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serial => "bottleneck",
            Self::Parallel => "parallel",
        }
    }

    /// `peft_type` in `adapter_config.json`.
    pub const fn peft_type(self) -> &'static str {
        match self {
            Self::Serial => "BOTTLENECK",
            Self::Parallel => "PARALLEL",
        }
    }

    /// The settings where nothing is said.
    pub fn defaults(self) -> BottleneckConfig {
        match self {
            Self::Serial => BottleneckConfig::default(),
            Self::Parallel => BottleneckConfig::parallel(),
        }
    }
}

/// Bottleneck adapters ([1902.00751](https://arxiv.org/abs/1902.00751),
/// [2005.00247](https://arxiv.org/abs/2005.00247)): see [`Bottleneck`](super::Bottleneck).
///
/// Targets are slots. Where none are named, a serial module stands after the feed-forward part of every block (Pfeiffer's
/// place); Houlsby's places are that and `after_attention`, with [`reads`](BottleneckConfig::reads) `plain`. A parallel
/// module stands in `beside_feed_forward`, where the residual is what the feed-forward part reads: behind the norm in a block
/// that norms before its parts.
#[derive(Debug, Clone)]
pub struct BottleneckMethod {
    kind: BottleneckKind,
    config: BottleneckConfig,
}

impl BottleneckMethod {
    /// The name of the method of serial modules.
    pub const NAME: &'static str = BottleneckKind::Serial.name();
    /// Its `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = BottleneckKind::Serial.peft_type();

    /// Serial bottleneck adapters with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: BottleneckConfig) -> Result<Self, AdapterError> {
        Self::of_kind(BottleneckKind::Serial, config)
    }

    /// Bottleneck adapters of a kind with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn of_kind(kind: BottleneckKind, config: BottleneckConfig) -> Result<Self, AdapterError> {
        config.check(kind.name())?;
        Ok(Self { kind, config })
    }

    /// Bottleneck adapters of a kind with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(kind: BottleneckKind, map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::of_kind(kind, BottleneckConfig::from_json(kind, map)?)
    }

    fn form(&self, target: &Target) -> Form {
        let config = &self.config;
        Form {
            size: config.size(target.in_features),
            non_linearity: config.non_linearity,
            reads: config.reads,
            scaling: config.scaling,
            init: config.init_weights,
            part: None,
            stream: 0,
        }
    }
}

impl Method for BottleneckMethod {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn peft_type(&self) -> &'static str {
        self.kind.peft_type()
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        &[SiteKind::Slot]
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Named(match self.kind {
            BottleneckKind::Serial => &["after_feed_forward"],
            BottleneckKind::Parallel => &["beside_feed_forward"],
        })
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let module = self.form(target).fresh(target, start);
        Ok(DynAdapter::of_slot(module))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let form = self.form(target);
        Ok(AdapterSpec {
            cost: cost(target.in_features, form.size),
            keeps_input: true,
            tensors: form.tensors(target),
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
        let module = self.form(target).restored(target, tensors, device)?;
        Ok(DynAdapter::of_slot(module))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut stored = Fields::new();
        let form = self.form(target);
        form.export(target, &mut fields, &mut stored)?;
        Ok(stored)
    }
}
