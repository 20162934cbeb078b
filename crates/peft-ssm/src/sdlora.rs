//! Sparse dimension tuning beside low-rank updates.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use burn::tensor::{Device, TensorData};
use peft_core::{
    AdapterError, AdapterSpec, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext, Method,
    PhaseSpec, Site, SiteKind, Target, WarmUpChoice, Warmed, format::TargetModules,
};
use serde_json::{Map, Value};

use crate::{
    SdtConfig, SdtMethod,
    sdt::{KINDS, SUFFIXES, is_for_another},
};

/// SDLoRA ([2410.09016](https://arxiv.org/abs/2410.09016)): [`SdtMethod`] on `A_log` and `x_proj`, and beside it another
/// method, the paper's being LoRA, on every other targeted weight: `out_proj` where none are named.
///
/// Both are trained in the warm-up, and both go back to their starts after it. The parts are one adapter in one file, whose
/// settings are those of both.
#[derive(Debug, Clone)]
pub struct SdLoraMethod {
    sdt: SdtMethod,
    beside: Arc<dyn Method>,
    suffixes: &'static [&'static str],
}

impl SdLoraMethod {
    /// The name of the method.
    pub const NAME: &'static str = "sdlora";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SDLORA";

    /// Sparse dimension tuning with the settings of an `adapter_config.json`, beside a method of linear layers that trains
    /// its adapters from start to end, each by itself: LoRA and DoRA do.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense, or the other method needs gradients, phases or tensors that its
    /// adapters share.
    pub fn from_json(
        map: &Map<String, Value>,
        beside: Arc<dyn Method>,
    ) -> Result<Self, AdapterError> {
        let config = SdtConfig::from_json(Self::NAME, map)?;
        let plain = beside.gradients().batches == 0
            && beside.phases().len() == 1
            && beside.shared_suffixes().is_empty()
            && beside.shared_names().is_empty()
            && beside.site_kinds().contains(&SiteKind::Linear);
        if !plain {
            return Err(AdapterError::Config {
                method: Self::NAME.into(),
                problem: format!("{} asks more of a run than to be trained", beside.name()),
                fix: "use lora or dora beside it".into(),
            });
        }
        Ok(Self {
            sdt: SdtMethod::new(config)?,
            suffixes: joined(beside.suffixes()),
            beside,
        })
    }

    /// Whose a target is.
    fn part(&self, target: &Target) -> &dyn Method {
        match is_for_another(target) {
            true => self.beside.as_ref(),
            false => &self.sdt,
        }
    }
}

/// A fault of a part as one of the whole, by whose name the user asked for it.
fn own(error: AdapterError) -> AdapterError {
    match error {
        AdapterError::Config {
            method,
            problem,
            fix,
        } if method == SdtMethod::NAME => AdapterError::Config {
            method: SdLoraMethod::NAME.into(),
            problem,
            fix,
        },
        other => other,
    }
}

/// The suffixes of sparse dimension tuning and others, kept for the process: there are few sets of them.
fn joined(others: &'static [&'static str]) -> &'static [&'static str] {
    static KNOWN: Mutex<Vec<&'static [&'static str]>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let all = [SUFFIXES, others].concat();
    if let Some(same) = known.iter().find(|one| **one == all) {
        return same;
    }
    let all: &'static [&'static str] = Vec::leak(all);
    known.push(all);
    all
}

impl Method for SdLoraMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        KINDS
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::Named(&["A_log", "x_proj", "out_proj"])
    }

    fn config(&self) -> Map<String, Value> {
        let mut all = self.sdt.config();
        all.extend(self.beside.config());
        all
    }

    fn fits(&self, sites: &[Site]) -> Result<(), AdapterError> {
        self.sdt.fits(sites).map_err(own)
    }

    fn fits_targets(&self, targets: &[&Site]) -> Result<(), AdapterError> {
        self.sdt.fits_targets(targets).map_err(own)
    }

    fn config_of_model(
        &self,
        sites: &[Site],
        named: &dyn Fn(DefaultTargets) -> TargetModules,
    ) -> Map<String, Value> {
        self.sdt.config_of_model(sites, named)
    }

    fn config_of_adapters(
        &self,
        modules: &BTreeMap<String, Fields<TensorData>>,
    ) -> Map<String, Value> {
        let mut all = self.sdt.config_of_adapters(modules);
        all.extend(self.beside.config_of_adapters(modules));
        all
    }

    fn phases(&self) -> Vec<PhaseSpec> {
        self.sdt.phases_beside(Some(self.beside.clone()))
    }

    fn choose(&self, warmed: &Warmed) -> Result<WarmUpChoice, AdapterError> {
        self.sdt.choose(warmed).map_err(own)
    }

    fn with_choice(&self, chosen: &WarmUpChoice) -> Result<Option<Box<dyn Method>>, AdapterError> {
        let sdt = self.sdt.having_chosen(chosen);
        Ok(Some(Box::new(Self {
            sdt,
            ..self.clone()
        })))
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        self.part(target).init(target, start).map_err(own)
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        self.part(target).describe(target).map_err(own)
    }

    fn evaluation(&self, target: &Target) -> Result<Option<String>, AdapterError> {
        self.part(target).evaluation(target).map_err(own)
    }

    fn suffixes(&self) -> &'static [&'static str] {
        self.suffixes
    }

    fn expect_own(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
    ) -> Result<(), AdapterError> {
        self.part(target).expect_own(target, tensors).map_err(own)
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        self.part(target)
            .restore(target, tensors, device)
            .map_err(own)
    }

    fn export(
        &self,
        target: &Target,
        fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        self.part(target).export(target, fields).map_err(own)
    }

    fn learning_rate_factor(&self, field: &str, step: u64, total: u64) -> f64 {
        self.beside.learning_rate_factor(field, step, total)
    }
}
