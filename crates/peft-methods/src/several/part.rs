//! One part of an adapter that several methods make.

use std::{collections::BTreeSet, sync::Mutex};

use peft_core::{
    AdapterError, DefaultTargets, Method, PhaseSpec, Site, SiteKind, Target,
    format::{TargetModules, TargetSpec, targets::Exclude},
};
use serde_json::{Map, Value};

use super::SeveralMethod;
use crate::{Entry, by_name};

/// The keys of a part that are no settings of its method.
const OWN: [&str; 5] = [
    "method",
    "target_modules",
    "exclude_modules",
    "layers",
    "rate",
];

/// Learning rate at which the parts are trained at their own methods' where they say nothing.
pub const RATE: f64 = 1e-3;

/// A method on some of the sites, with settings and a learning rate of its own.
#[derive(Debug)]
pub struct Part {
    pub entry: &'static Entry,
    pub method: Box<dyn Method>,
    /// The name by which its adapters are told from those of other parts.
    pub name: &'static str,
    /// Factor on the run's learning rate.
    pub rate: f64,
    spec: TargetSpec,
    /// As files have it.
    given: Map<String, Value>,
    /// As it was asked for: with settings that only concern how its adapters start.
    asked: Map<String, Value>,
}

impl Part {
    /// A part as a configuration has it; `before` are those before it.
    pub fn new(given: &Value, before: &[Self]) -> Result<Self, AdapterError> {
        let number = before.len() + 1;
        let fault = |problem: String, fix: &str| AdapterError::Config {
            method: SeveralMethod::NAME.into(),
            problem: format!("part {number}: {problem}"),
            fix: fix.into(),
        };
        let Value::Object(given) = given else {
            let problem = "it is no table of settings".to_owned();
            return Err(fault(
                problem,
                "write `method`, targets and the method's settings",
            ));
        };
        let entry = match given.get("method").and_then(Value::as_str) {
            Some(name) => by_name(name)?,
            None => return Err(fault("it names no `method`".into(), "name one")),
        };
        let known =
            |key: &String| OWN.contains(&key.as_str()) || entry.keys.contains(&key.as_str());
        if let Some(key) = given.keys().find(|key| !known(key)) {
            let problem = format!("{} has no setting `{key}`", entry.name);
            return Err(fault(problem, "leave it out, or correct the name"));
        }
        let mut settings = entry.defaults_at(None);
        let own = given.iter().filter(|(key, _)| !OWN.contains(&key.as_str()));
        settings.extend(own.map(|(key, value)| (key.clone(), value.clone())));
        let method = (entry.build)(&settings)?;
        expect_alone(method.as_ref(), &fault)?;
        let usual = entry.learning_rate / RATE;
        let rate = match given.get("rate") {
            None | Some(Value::Null) => usual,
            Some(rate) => rate.as_f64().unwrap_or(f64::NAN),
        };
        if !rate.is_finite() || rate <= 0.0 {
            let problem = format!("`rate` is {}, not above 0", given["rate"]);
            return Err(fault(problem, "give a factor on the run's learning rate"));
        }
        let modules = modules(given.get("target_modules"))
            .map_err(|problem| fault(format!("`target_modules`: {problem}"), "correct it"))?;
        let exclude = modules_of(given.get("exclude_modules"))
            .map_err(|problem| fault(format!("`exclude_modules`: {problem}"), "correct it"))?;
        let layers = layers(given.get("layers"))
            .map_err(|problem| fault(format!("`layers`: {problem}"), "give a list of numbers"))?;
        let spec = TargetSpec {
            exclude,
            layers_to_transform: (!layers.is_empty()).then_some(layers),
            ..TargetSpec::new(modules)
        };
        let same = before
            .iter()
            .filter(|one| one.entry.name == entry.name)
            .count();
        let name = match same {
            0 => entry.name,
            _ => interned(format!("{}-{}", entry.name, same + 1)),
        };
        let mut whole = method.config();
        whole.retain(|key, _| entry.keys.contains(&key.as_str()));
        let training = given
            .iter()
            .filter(|(key, _)| entry.training_keys.contains(&key.as_str()));
        whole.extend(training.map(|(key, value)| (key.clone(), value.clone())));
        let mut told = Map::new();
        told.insert("method".into(), entry.name.into());
        for key in &OWN[1..] {
            if let Some(value) = given.get(*key).filter(|value| !value.is_null()) {
                told.insert((*key).to_owned(), value.clone());
            }
        }
        told.extend(whole);
        Ok(Self {
            entry,
            method,
            name,
            rate,
            spec,
            given: told,
            asked: given.clone(),
        })
    }

    /// Take another method of its kind, with its settings.
    pub fn replace(&mut self, method: Box<dyn Method>) {
        let mut settings = method.config();
        settings.retain(|key, _| self.entry.keys.contains(&key.as_str()));
        self.given.extend(settings);
        self.method = method;
    }

    /// As a configuration has it.
    pub fn config(&self) -> &Map<String, Value> {
        &self.given
    }

    /// The same with more of its method's settings.
    pub fn config_with(&self, more: Map<String, Value>) -> Value {
        let mut config = self.given.clone();
        config.extend(more);
        Value::Object(config)
    }

    /// What it was asked for, and what it adapts where it names nothing.
    pub fn with_targets(
        &self,
        targets: &dyn Fn(DefaultTargets, &[usize]) -> TargetModules,
    ) -> Value {
        let mut config = self.given.clone();
        for (key, value) in &self.asked {
            config.entry(key).or_insert_with(|| value.clone());
        }
        let asked = match self.spec.modules {
            TargetModules::Unspecified => Some(self.method.default_targets()),
            TargetModules::AllLinear => Some(DefaultTargets::AllLinear),
            TargetModules::List(_) | TargetModules::Regex(_) => None,
        };
        if let Some(asked) = asked {
            let layers = self.spec.layers_to_transform.as_deref().unwrap_or_default();
            let targets = match targets(asked, layers) {
                TargetModules::List(names) => names.into(),
                TargetModules::Regex(regex) => format!("regex:{regex}").into(),
                TargetModules::AllLinear => "all-linear".into(),
                TargetModules::Unspecified => Value::Null,
            };
            config.insert("target_modules".into(), targets);
        }
        Value::Object(config)
    }

    /// The paths of what it adapts, of a model's sites.
    pub fn sites(&self, sites: &[Site], heads: &[&str]) -> Result<Vec<String>, AdapterError> {
        let kinds = self.method.site_kinds();
        let find = |spec: &TargetSpec| peft_core::resolve_sites(sites.to_vec(), spec, kinds, heads);
        let nowhere = |layer: usize| AdapterError::Config {
            method: SeveralMethod::NAME.into(),
            problem: format!("nothing that {} adapts is in layer {layer}", self.name),
            fix: "correct the number (they are counted from 0), or leave it out".into(),
        };
        let found = match (find(&self.spec), self.spec.layers_to_transform.as_deref()) {
            (Err(error), Some([first, ..])) => {
                let anywhere = TargetSpec {
                    layers_to_transform: None,
                    ..self.spec.clone()
                };
                return Err(find(&anywhere).map_or(error, |_| nowhere(*first)));
            }
            (found, _) => found?,
        };
        if let Some(name) = found.unmatched.first() {
            return Err(AdapterError::Config {
                method: SeveralMethod::NAME.into(),
                problem: format!(
                    "nothing that {} adapts answers to the target `{name}`",
                    self.name
                ),
                fix: "correct the name, or leave it out".into(),
            });
        }
        // A whole name is a target whatever the layers, so the numbers are looked at.
        for &layer in self.spec.layers_to_transform.iter().flatten() {
            let inside =
                |site: &Site| site.layer() == Some(layer) && found.matched.contains(&site.path);
            if !sites.iter().any(inside) {
                return Err(nowhere(layer));
            }
        }
        Ok(found.matched)
    }

    /// Whether it adapts a target, by its own path or, of a norm's parameters, by the norm's.
    pub fn has(&self, target: &Target) -> bool {
        let holder = match target.kind {
            SiteKind::Parameter => target.path.rsplit_once('.').map(|(holder, _)| holder),
            _ => None,
        };
        self.method.site_kinds().contains(&target.kind)
            && (self.answers_to(&target.path) || holder.is_some_and(|one| self.answers_to(one)))
    }

    /// Whether its targets mean a path.
    pub fn answers_to(&self, path: &str) -> bool {
        self.spec.matches(path).unwrap_or(false)
    }
}

/// Refuse a method that needs more than the sites that it is put on, and the steps that it takes with the others.
fn expect_alone(
    method: &dyn Method,
    fault: &dyn Fn(String, &str) -> AdapterError,
) -> Result<(), AdapterError> {
    let problem = if method.name() == SeveralMethod::NAME {
        "its parts can be named here"
    } else if !method.adapts_weights() {
        "it adapts nothing"
    } else if !matches!(method.phases().as_slice(), [PhaseSpec::Train]) {
        "its adapters are made after a look at the data or a warm-up"
    } else if !method.shared_names().is_empty() || !method.shared_suffixes().is_empty() {
        "its adapters share tensors of one file"
    } else {
        return Ok(());
    };
    let problem = format!("{} cannot be one of several: {problem}", method.name());
    Err(fault(problem, "train it alone"))
}

/// Targets: a list of names, or a text as on the command line.
fn modules(value: Option<&Value>) -> Result<TargetModules, String> {
    match value {
        None | Some(Value::Null) => Ok(TargetModules::Unspecified),
        Some(Value::String(text)) => TargetModules::parse_cli(text).map_err(|e| e.to_string()),
        Some(Value::Array(items)) if !items.is_empty() => {
            let names = items.iter().map(|item| item.as_str().map(str::to_owned));
            let names: Option<Vec<String>> = names.collect();
            Ok(TargetModules::List(names.ok_or("a name is no text")?))
        }
        Some(other) => Err(format!("{other} is no list of names")),
    }
}

fn modules_of(value: Option<&Value>) -> Result<Option<Exclude>, String> {
    match modules(value)? {
        TargetModules::Unspecified => Ok(None),
        TargetModules::List(names) => Ok(Some(Exclude::List(names))),
        TargetModules::Regex(regex) => Ok(Some(Exclude::Regex(regex))),
        TargetModules::AllLinear => Err("all-linear leaves nothing".to_owned()),
    }
}

fn layers(value: Option<&Value>) -> Result<Vec<usize>, String> {
    let number = |value: &Value| {
        let number = value.as_u64().filter(|number| *number < 4096);
        number
            .map(|number| number as usize)
            .ok_or(format!("{value} is no layer"))
    };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(all)) => all.iter().map(number).collect(),
        Some(one) => Ok(vec![number(one)?]),
    }
}

/// A text that lives as long as the program. There are few: names of methods with small numbers.
fn interned(text: String) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(found) = known.get(text.as_str()) {
        return found;
    }
    let kept: &'static str = Box::leak(text.into_boxed_str());
    known.insert(kept);
    kept
}
