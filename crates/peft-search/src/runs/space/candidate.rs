//! A method as a search may choose it: where it can go on a model, in which sizes, and what it stores there.

use peft_run::{
    Footprint, Prepared, RunConfig,
    core::{DefaultTargets, Method, SiteKind, format::TargetModules},
    methods::{Entry, SCALE_RATE},
    models::Role,
};
use serde_json::{Map, Value};

/// Sizes of adapters, as factors on those that the methods have by default.
pub const SIZES: [f64; 7] = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];
/// The level of a method's own size.
pub const USUAL: usize = 3;

/// Places, by the parts of the blocks that they are in.
pub const PLACES: [&str; 4] = ["default", "attention", "feed-forward", "both"];

/// The slots after the parts of a block, in the order of attention and feed-forward.
const SLOTS: [&str; 2] = ["after_attention", "after_feed_forward"];

/// A method that is not searched, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub method: &'static str,
    /// Why it cannot be, in words.
    pub reason: String,
}

/// A method that fits the model.
#[derive(Debug)]
pub struct Candidate {
    pub entry: &'static Entry,
    /// Settings by level of size; none where the method has no such size.
    sized: Vec<Option<Map<String, Value>>>,
    places: Vec<Option<Place>>,
    /// Settings with which it adapts its targets alone.
    targets_only: Map<String, Value>,
}

/// Where the adapters of a method go.
#[derive(Debug)]
struct Place {
    /// Names that stand beside numbers of layers; none where only whole paths mean it.
    names: Option<TargetModules>,
    /// By level of size.
    footprints: Vec<Option<Footprint>>,
}

impl Candidate {
    /// The method on a prepared base, with settings that all trials share.
    pub fn new(
        entry: &'static Entry,
        prepared: &Prepared,
        shared: &RunConfig,
    ) -> Result<Self, LeftOut> {
        let left_out = |reason: String| LeftOut {
            method: entry.name,
            reason,
        };
        let mut sized: Vec<_> = SIZES.iter().map(|factor| entry.sized(*factor)).collect();
        // At its own size nothing needs to be said, and methods without a size have that only.
        sized[USUAL] = Some(Map::new());
        let method =
            (entry.build)(&(entry.defaults)()).map_err(|error| left_out(error.to_string()))?;
        let mut places = Vec::with_capacity(PLACES.len());
        let mut known: Vec<Vec<String>> = Vec::new();
        for level in 0..PLACES.len() {
            let Some(targets) = targets(method.as_ref(), level, prepared) else {
                places.push(None);
                continue;
            };
            let found = Place::new(entry, targets, &sized, prepared, shared);
            match found {
                Err(reason) if level == 0 => return Err(left_out(reason)),
                Err(_) => places.push(None),
                Ok(place) => {
                    // Two places that mean the same are one.
                    let paths = place.paths();
                    let is_new = !known.contains(&paths);
                    known.push(paths);
                    places.push(is_new.then_some(place));
                }
            }
        }
        let mut candidate = Self {
            entry,
            sized,
            places,
            targets_only: method.targets_only(),
        };
        candidate.drop_idle_sizes();
        Ok(candidate)
    }

    /// Forget sizes that no value comes of: of methods that store as much whatever they are.
    fn drop_idle_sizes(&mut self) {
        let Some(Some(default)) = self.places.first() else {
            return;
        };
        let values = |footprint: &Option<Footprint>| footprint.as_ref().map(Footprint::values);
        let usual = values(&default.footprints[USUAL]);
        let others = (0..SIZES.len()).filter(|level| *level != USUAL);
        let idle = others.clone().all(|level| {
            let other = values(&default.footprints[level]);
            other.is_none() || other == usual
        });
        if idle {
            others.for_each(|level| self.sized[level] = None);
        }
    }

    /// Whether a place is one of the method's.
    pub fn has_place(&self, place: usize) -> bool {
        self.places.get(place).is_some_and(Option::is_some)
    }

    /// Whether a size is one of the method's at a place.
    pub fn has(&self, size: usize, place: usize) -> bool {
        self.footprint(size, place).is_some()
    }

    /// Whether the method has sizes.
    pub fn has_sizes(&self) -> bool {
        (0..SIZES.len()).filter(|size| self.has(*size, 0)).count() > 1
    }

    /// Whether the method has several places.
    pub fn has_places(&self) -> bool {
        (0..PLACES.len())
            .filter(|place| self.has_place(*place))
            .count()
            > 1
    }

    /// What its file holds.
    pub fn footprint(&self, size: usize, place: usize) -> Option<&Footprint> {
        self.sized.get(size)?.as_ref()?;
        self.places
            .get(place)?
            .as_ref()?
            .footprints
            .get(size)?
            .as_ref()
    }

    /// The settings of a run with adapters in these layers; `rate` is a factor on the method's own learning rate.
    pub fn settings(
        &self,
        shared: &RunConfig,
        [size, place]: [usize; 2],
        rate: f64,
        layers: &[usize],
    ) -> Option<RunConfig> {
        let footprint = self.footprint(size, place)?;
        let place = self.places.get(place)?.as_ref()?;
        let mut config = RunConfig {
            method: self.entry.name.to_owned(),
            method_config: self.sized.get(size)?.clone()?,
            ..shared.clone()
        };
        match &place.names {
            Some(names) => {
                config.target_modules = names.clone();
                config.layers = layers.to_vec();
            }
            None => {
                let inside = footprint.sites.iter();
                let inside =
                    inside.filter(|site| site.layer.is_some_and(|at| layers.contains(&at)));
                let paths = inside.map(|site| site.path.clone()).collect();
                config.target_modules = TargetModules::List(paths);
                // What it adapts beside them in these layers is among the paths.
                config.method_config.extend(self.targets_only.clone());
            }
        }
        if rate != 1.0 {
            config.learning_rate = Some(self.entry.learning_rate * rate);
            // The method's own rate is one for this setting.
            if self.entry.keys.contains(&SCALE_RATE) {
                config.method_config.insert(SCALE_RATE.into(), true.into());
            }
        }
        Some(config)
    }
}

impl Place {
    fn new(
        entry: &'static Entry,
        targets: TargetModules,
        sized: &[Option<Map<String, Value>>],
        prepared: &Prepared,
        shared: &RunConfig,
    ) -> Result<Self, String> {
        let of = |settings: &Map<String, Value>, layers: Vec<usize>| {
            let config = RunConfig {
                method: entry.name.to_owned(),
                method_config: settings.clone(),
                target_modules: targets.clone(),
                layers,
                ..shared.clone()
            };
            prepared
                .footprint(&config)
                .map_err(|error| error.to_string())
        };
        let whole = of(&Map::new(), Vec::new())?;
        let first = whole.sites.iter().find_map(|site| site.layer);
        let Some(first) = first else {
            return Err("it adapts nothing in the layers of this model".to_owned());
        };
        // Beside a regular expression, and beside `all-linear`, layers cannot be named; and what a method adapts beside its
        // targets is in all layers whichever are.
        let named = of(&Map::new(), vec![first]);
        let inside = |one: &Footprint| one.sites.iter().all(|site| site.layer == Some(first));
        let footprints = sized.iter().map(|settings| {
            let footprint = of(settings.as_ref()?, Vec::new()).ok()?;
            Some(footprint)
        });
        Ok(Self {
            names: named.is_ok_and(|one| inside(&one)).then(|| targets.clone()),
            footprints: footprints.collect(),
        })
    }

    /// The paths of its sites.
    fn paths(&self) -> Vec<String> {
        let usual = self.footprints[USUAL].iter();
        usual
            .flat_map(|footprint| footprint.sites.iter().filter(|site| site.layer.is_some()))
            .map(|site| site.path.clone())
            .collect()
    }
}

/// The targets of a method at a place; none where there is no such place for it.
fn targets(method: &dyn Method, place: usize, prepared: &Prepared) -> Option<TargetModules> {
    if place == 0 {
        return Some(TargetModules::Unspecified);
    }
    if method.site_kinds().contains(&SiteKind::Linear) {
        let roles: Vec<Role> = match PLACES[place] {
            "attention" => Role::ATTENTION.to_vec(),
            "feed-forward" => Role::FEED_FORWARD.to_vec(),
            _ => [Role::ATTENTION, Role::FEED_FORWARD].concat(),
        };
        let targets = prepared.targets(&roles);
        return (targets != TargetModules::List(Vec::new())).then_some(targets);
    }
    match method.default_targets() {
        DefaultTargets::Named([name]) if SLOTS.contains(name) => {
            let names = match PLACES[place] {
                "attention" => &SLOTS[..1],
                "feed-forward" => &SLOTS[1..],
                _ => &SLOTS[..],
            };
            let names = names.iter().map(|name| (*name).to_owned());
            Some(TargetModules::List(names.collect()))
        }
        _ => None,
    }
}
