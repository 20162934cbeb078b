//! Several methods in one adapter: each on sites of its own.

mod part;

use std::{collections::BTreeMap, sync::Mutex};

use burn::tensor::{Device, TensorData};
use peft_core::{
    AdapterError, AdapterSpec, Common, DefaultTargets, DynAdapter, Fields, HostTensor, InitContext,
    Method, Site, SiteKind, Target, format::TargetModules,
};
use serde_json::{Map, Value, json};

use part::Part;
pub use part::RATE;

/// More than any configuration has.
const MOST: usize = 16;

/// The kinds of sites that some method adapts.
const KINDS: &[SiteKind] = &[
    SiteKind::Linear,
    SiteKind::TransposedLinear,
    SiteKind::Conv1d,
    SiteKind::Embedding,
    SiteKind::Parameter,
    SiteKind::Slot,
];

/// One adapter that several methods make: each part is a method of the registry with its own settings, targets,
/// layers and learning rate, and a site is in one part at most. Its file holds the tensors of all parts.
///
/// Methods whose adapters share tensors, or are made after a look at the data or a warm-up, are trained alone.
#[derive(Debug)]
pub struct SeveralMethod {
    parts: Vec<Part>,
    suffixes: &'static [&'static str],
}

impl SeveralMethod {
    /// The name of the method.
    pub const NAME: &'static str = "several";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SEVERAL";
    /// Keys of `adapter_config.json` that it understands.
    pub const KEYS: &'static [&'static str] = &["parts"];

    /// The parts of a configuration.
    ///
    /// # Errors
    /// If there are none, or one is none that can be among several.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        let fault = |problem: &str, fix: &str| AdapterError::Config {
            method: Self::NAME.into(),
            problem: problem.into(),
            fix: fix.into(),
        };
        let given = match map.get("parts") {
            Some(Value::Array(parts)) if parts.len() > MOST => {
                return Err(fault("there are more than 16 parts", "put some together"));
            }
            Some(Value::Array(parts)) if !parts.is_empty() => parts,
            _ => {
                return Err(fault(
                    "it has no `parts`",
                    "give them in a file of settings, as tables `[[method_config.parts]]`, each with a method, its target \
                     modules and its own settings",
                ));
            }
        };
        let mut parts = Vec::with_capacity(given.len());
        for one in given {
            let part = Part::new(one, &parts)?;
            parts.push(part);
        }
        let suffixes = suffixes(&parts);
        Ok(Self { parts, suffixes })
    }

    /// The settings' schema.
    pub fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "parts": {
                    "description": "The parts: tables with `method`, `target_modules`, `exclude_modules`, `layers`, `rate` \
                                    (a factor on the learning rate) and the method's own settings.",
                    "type": "array",
                    "items": { "type": "object" },
                    "x-flag": "",
                }
            }
        })
    }

    /// The part that a target is in.
    fn of(&self, target: &Target) -> Result<&Part, AdapterError> {
        let mut parts = self.parts.iter().filter(|part| part.has(target));
        // The parameter itself is nearer than its norm.
        let named = parts.clone().find(|part| part.answers_to(&target.path));
        named
            .or_else(|| parts.next())
            .ok_or_else(|| AdapterError::Config {
                method: Self::NAME.into(),
                problem: format!("no part adapts `{}`", target.path),
                fix: "name it among the targets of a part".into(),
            })
    }

    fn configs(&self, each: impl FnMut(&Part) -> Value) -> Map<String, Value> {
        let parts: Vec<Value> = self.parts.iter().map(each).collect();
        Map::from_iter([("parts".to_owned(), Value::Array(parts))])
    }

    /// What parts say more of their configurations; nothing where none does.
    fn more(
        &self,
        mut of: impl FnMut(&Part) -> Result<Map<String, Value>, AdapterError>,
    ) -> Result<Map<String, Value>, AdapterError> {
        let more = self
            .parts
            .iter()
            .map(&mut of)
            .collect::<Result<Vec<_>, _>>()?;
        if more.iter().all(Map::is_empty) {
            return Ok(Map::new());
        }
        let mut more = more.into_iter();
        Ok(self.configs(|part| part.config_with(more.next().unwrap_or_default())))
    }
}

/// The suffixes of all parts, as long as the program lives: there are few such lists.
fn suffixes(parts: &[Part]) -> &'static [&'static str] {
    static KNOWN: Mutex<BTreeMap<Vec<&'static str>, &'static [&'static str]>> =
        Mutex::new(BTreeMap::new());
    let mut all: Vec<&'static str> = parts
        .iter()
        .flat_map(|part| part.method.suffixes())
        .copied()
        .collect();
    all.sort_unstable();
    all.dedup();
    let mut known = KNOWN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(found) = known.get(&all) {
        return found;
    }
    let kept: &'static [&'static str] = Box::leak(all.clone().into_boxed_slice());
    known.insert(all, kept);
    kept
}

impl Method for SeveralMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn site_kinds(&self) -> &'static [SiteKind] {
        KINDS
    }

    fn part(&self, name: &str) -> Option<&dyn Method> {
        let found = self.parts.iter().find(|part| part.name == name)?;
        Some(found.method.as_ref())
    }

    fn config(&self) -> Map<String, Value> {
        self.configs(|part| Value::Object(part.config().clone()))
    }

    fn config_of_targets(
        &self,
        targets: &dyn Fn(DefaultTargets, &[usize]) -> TargetModules,
    ) -> Map<String, Value> {
        self.configs(|part| part.with_targets(targets))
    }

    fn config_of_model(
        &self,
        sites: &[Site],
        named: &dyn Fn(DefaultTargets) -> TargetModules,
    ) -> Map<String, Value> {
        let own = |part: &Part| {
            let mut own = part.method.config_of_model(sites, named);
            own.retain(|key, _| part.config().get(key).is_none_or(Value::is_null));
            Ok(own)
        };
        self.more(own).unwrap_or_default()
    }

    fn config_of_run(&self, steps: u64) -> Result<Map<String, Value>, AdapterError> {
        self.more(|part| part.method.config_of_run(steps))
    }

    fn config_of_adapters(
        &self,
        modules: &BTreeMap<String, Fields<TensorData>>,
    ) -> Map<String, Value> {
        let own = |part: &Part| {
            let matches = |path: &str| part.answers_to(path);
            let inside = modules.iter().filter(|(path, _)| matches(path));
            let inside = inside.map(|(path, fields)| (path.clone(), fields.clone()));
            Ok(part.method.config_of_adapters(&inside.collect()))
        };
        self.more(own).unwrap_or_default()
    }

    fn own_targets(
        &self,
        sites: &[Site],
        heads: &[&str],
    ) -> Result<Option<Vec<String>>, AdapterError> {
        let mut owners: BTreeMap<String, &str> = BTreeMap::new();
        for part in &self.parts {
            if let Some(path) = part.method.also_adapts(sites)?.first() {
                return Err(AdapterError::Config {
                    method: Self::NAME.into(),
                    problem: format!(
                        "{} adapts `{path}` beside its targets, which a part cannot",
                        part.name
                    ),
                    fix:
                        "turn the setting off that asks for it (`norms` of ssf), or train it alone"
                            .into(),
                });
            }
            for path in part.sites(sites, heads)? {
                if let Some(other) = owners.insert(path.clone(), part.name) {
                    return Err(AdapterError::Config {
                        method: Self::NAME.into(),
                        problem: format!("`{path}` is in two parts, {other} and {}", part.name),
                        fix: "exclude it from one of them".into(),
                    });
                }
            }
        }
        let inside = sites.iter().filter(|site| owners.contains_key(&site.path));
        Ok(Some(inside.map(|site| site.path.clone()).collect()))
    }

    fn wants_vocabulary(&self) -> bool {
        self.parts.iter().any(|part| part.method.wants_vocabulary())
    }

    fn rows_before(&self) -> usize {
        self.parts
            .iter()
            .map(|part| part.method.rows_before())
            .sum()
    }

    fn positions_before(&self) -> usize {
        self.parts
            .iter()
            .map(|part| part.method.positions_before())
            .sum()
    }

    fn of_files(&self) -> Option<Box<dyn Method>> {
        if self
            .parts
            .iter()
            .all(|part| part.method.of_files().is_none())
        {
            return None;
        }
        let mut again = Self::from_json(&self.config()).expect("its own settings make it");
        for part in &mut again.parts {
            if let Some(method) = part.method.of_files() {
                part.replace(method);
            }
        }
        Some(Box::new(again))
    }

    fn fits(&self, sites: &[Site]) -> Result<(), AdapterError> {
        self.parts
            .iter()
            .try_for_each(|part| part.method.fits(sites))
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        self.init_among(target, start, [target.in_features, target.out_features])
    }

    fn init_among(
        &self,
        target: &Target,
        start: &InitContext,
        widest: [usize; 2],
    ) -> Result<DynAdapter, AdapterError> {
        let part = self.of(target)?;
        let adapter = part.method.init_among(target, start, widest)?;
        Ok(adapter.of_part(part.name, part.rate))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        self.of(target)?.method.describe(target)
    }

    fn evaluation(&self, target: &Target) -> Result<Option<String>, AdapterError> {
        self.of(target)?.method.evaluation(target)
    }

    fn tied(&self, target: &Target) -> Result<Fields<usize>, AdapterError> {
        self.of(target)?.method.tied(target)
    }

    fn suffixes(&self) -> &'static [&'static str] {
        self.suffixes
    }

    fn expect_own(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
    ) -> Result<(), AdapterError> {
        self.of(target)?.method.expect_own(target, tensors)
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let part = self.of(target)?;
        let adapter = part.method.restore(target, tensors, device)?;
        Ok(adapter.of_part(part.name, part.rate))
    }

    fn restore_among(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        common: &Common,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let part = self.of(target)?;
        let adapter = part.method.restore_among(target, tensors, common, device)?;
        Ok(adapter.of_part(part.name, part.rate))
    }

    fn export(
        &self,
        target: &Target,
        fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        self.of(target)?.method.export(target, fields)
    }
}
