//! The space of every method that fits a model.

use peft_run::{
    Prepared, RunConfig,
    methods::{Entry, METHODS},
};

use super::candidate::{Candidate, LeftOut, PLACES, SIZES, USUAL};
use super::{RunSpace, RunsError};
use crate::{Configuration, Domain, Forbidden, Parameter, SearchError, Space, Value};

/// Learning rates, as factors on those that the methods have by default.
const RATES: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// Binary parameters of layers at most: neighbouring layers of deep models share one.
const MOST_GROUPS: usize = 12;

const METHOD: &str = "method";
const SIZE: &str = "size";
const PLACE: &str = "place";
const RATE: &str = "rate";
/// What stands before the numbers of layers.
const LAYER: &str = "layer_";

/// The workspace's space: a method, its size and its learning rate as factors on the method's own, the parts of the
/// blocks that it adapts, and for each layer whether it is adapted.
///
/// Parameters that a method does not have are inactive, and sizes and places that it does not have are forbidden with
/// it. Of a model with more than 12 layers, neighbours share a parameter.
#[derive(Debug)]
pub struct Workspace {
    space: Space,
    candidates: Vec<Candidate>,
    /// The layers of each binary parameter.
    groups: Vec<Vec<usize>>,
    left_out: Vec<LeftOut>,
    most: f64,
}

impl Workspace {
    /// The space of these methods on a prepared base, all of them where none is named, with settings that all trials
    /// share. A named method that does not fit is an error; of all, those that do not are
    /// [left out](Self::left_out).
    ///
    /// # Errors
    /// If a name is no method's, a named method does not fit, or none does.
    pub fn new(
        prepared: &Prepared,
        shared: &RunConfig,
        methods: &[String],
    ) -> Result<Self, RunsError> {
        let entries: Vec<&'static Entry> = match methods {
            [] => METHODS.iter().collect(),
            names => {
                let found = names.iter().map(|name| peft_run::methods::by_name(name));
                found
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(peft_run::RunError::from)?
            }
        };
        let (mut candidates, mut left_out) = (Vec::new(), Vec::new());
        for entry in entries {
            match Candidate::new(entry, prepared, shared) {
                Ok(candidate) => candidates.push(candidate),
                Err(reason) => left_out.push(reason),
            }
        }
        if let Some(LeftOut { method, reason }) = left_out
            .first()
            .filter(|_| !methods.is_empty() || candidates.is_empty())
        {
            return Err(RunsError::setting(
                format!("`methods` {method}"),
                reason.clone(),
                "leave it out",
            ));
        }
        let groups = groups(&candidates);
        let space = space(&candidates, &groups)?;
        let footprints = candidates.iter().flat_map(|candidate| {
            let levels =
                (0..SIZES.len()).flat_map(|size| (0..PLACES.len()).map(move |place| (size, place)));
            levels.filter_map(move |(size, place)| candidate.footprint(size, place))
        });
        let most = footprints.map(|one| one.values()).max().unwrap_or(1);
        Ok(Self {
            space,
            candidates,
            groups,
            left_out,
            most: 1.05 * most as f64,
        })
    }

    /// Methods that do not fit the model, each with the reason.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// A configuration in terms of the space.
    fn read(&self, configuration: &Configuration) -> Option<Read<'_>> {
        let level = |name: &str| {
            let index = self.space.index(name)?;
            let active = self.space.is_active(configuration, index);
            active.then_some(*configuration.0.get(index)? as usize)
        };
        let number = |name: &str| {
            let index = self.space.index(name)?;
            let level = level(name)?;
            match self.space.parameters()[index].value(level as u32) {
                Value::Number(number) => Some(number),
                _ => None,
            }
        };
        let method = level(METHOD).unwrap_or(0);
        let size = number(SIZE).and_then(|factor| SIZES.iter().position(|one| *one == factor));
        let place = level(PLACE).and_then(|level| {
            let index = self.space.index(PLACE)?;
            match self.space.parameters()[index].value(level as u32) {
                Value::Choice(name) => PLACES.iter().position(|one| *one == name),
                _ => None,
            }
        });
        let layers = self.groups.iter().enumerate();
        let layers = layers.filter(|(group, _)| {
            let index = self.space.parameters().len() - self.groups.len() + group;
            configuration.0.get(index) == Some(&1) || self.groups.len() == 1
        });
        Some(Read {
            candidate: self.candidates.get(method)?,
            size: size.unwrap_or(USUAL),
            place: place.unwrap_or(0),
            rate: number(RATE).unwrap_or(1.0),
            layers: layers.flat_map(|(_, layers)| layers.clone()).collect(),
        })
    }

    /// The configuration of a method as it is by default, on all layers.
    fn usual(&self, method: usize) -> Option<Configuration> {
        let candidate = self.candidates.get(method)?;
        let mut values: Vec<(&str, Value)> = Vec::new();
        let mut set = |name: &'static str, value: Value| {
            if self.space.index(name).is_some() {
                values.push((name, value));
            }
        };
        set(METHOD, Value::Choice(candidate.entry.name.to_owned()));
        set(RATE, Value::Number(1.0));
        if candidate.has_sizes() {
            set(SIZE, Value::Number(SIZES[USUAL]));
        }
        if candidate.has_places() {
            set(PLACE, Value::Choice(PLACES[0].to_owned()));
        }
        let parameters = self.space.parameters().iter();
        let layers = parameters.filter(|one| one.name.starts_with(LAYER));
        values.extend(layers.map(|one| (one.name.as_str(), Value::Flag(true))));
        self.space.configuration(&values).ok()
    }
}

/// A configuration in terms of the space.
struct Read<'a> {
    candidate: &'a Candidate,
    size: usize,
    place: usize,
    rate: f64,
    layers: Vec<usize>,
}

impl RunSpace for Workspace {
    fn space(&self) -> &Space {
        &self.space
    }

    fn settings(
        &self,
        shared: &RunConfig,
        configuration: &Configuration,
    ) -> Result<RunConfig, RunsError> {
        self.space.check(configuration)?;
        let settings = self.read(configuration).and_then(|read| {
            let levels = [read.size, read.place];
            read.candidate
                .settings(shared, levels, read.rate, &read.layers)
        });
        settings.ok_or_else(|| {
            let reason = "its method has no such size or place".to_owned();
            let levels = configuration.0.clone();
            SearchError::Configuration { levels, reason }.into()
        })
    }

    fn values(&self, configuration: &Configuration) -> f64 {
        let values = self.read(configuration).and_then(|read| {
            let footprint = read.candidate.footprint(read.size, read.place)?;
            footprint.of_layers(|layer| read.layers.contains(&layer))
        });
        values.map_or(self.most, |values| values as f64)
    }

    fn most(&self) -> f64 {
        self.most
    }

    /// LoRA as it is by default, or the first of the methods.
    fn starts(&self) -> Vec<Configuration> {
        let default = RunConfig::default().method;
        let place = self
            .candidates
            .iter()
            .position(|one| one.entry.name == default);
        self.usual(place.unwrap_or(0)).into_iter().collect()
    }
}

/// The layers that any candidate adapts, in groups of neighbours.
fn groups(candidates: &[Candidate]) -> Vec<Vec<usize>> {
    let footprints = candidates.iter().filter_map(|one| one.footprint(USUAL, 0));
    let layers =
        footprints.flat_map(|footprint| footprint.sites.iter().filter_map(|site| site.layer));
    let layers: std::collections::BTreeSet<usize> = layers.collect();
    let layers: Vec<usize> = layers.into_iter().collect();
    let size = layers.len().div_ceil(MOST_GROUPS).max(1);
    layers.chunks(size).map(<[usize]>::to_vec).collect()
}

fn space(candidates: &[Candidate], groups: &[Vec<usize>]) -> Result<Space, SearchError> {
    let (mut parameters, mut forbidden) = (Vec::new(), Vec::new());
    let several = candidates.len() > 1;
    if several {
        let choices = candidates.iter().map(|one| one.entry.name.to_owned());
        let choices = choices.collect();
        parameters.push(Parameter::new(METHOD, Domain::Categorical { choices }));
    }
    // A parameter of the methods that `has` it, with the levels that any of them has.
    let mut add = |name: &'static str,
                   levels: usize,
                   has: &dyn Fn(&Candidate) -> bool,
                   allows: &dyn Fn(&Candidate, usize) -> bool,
                   domain: &dyn Fn(&[usize]) -> Domain| {
        let with: Vec<usize> = (0..candidates.len())
            .filter(|at| has(&candidates[*at]))
            .collect();
        let any = |level: &usize| with.iter().any(|at| allows(&candidates[*at], *level));
        let kept: Vec<usize> = (0..levels).filter(any).collect();
        if with.is_empty() || kept.len() < 2 {
            return;
        }
        let parameter = Parameter::new(name, domain(&kept));
        parameters.push(match several {
            true => parameter.when(METHOD, with.iter().map(|at| *at as u32).collect()),
            false => parameter,
        });
        for at in &with {
            for (level, meant) in kept.iter().enumerate() {
                if several && !allows(&candidates[*at], *meant) {
                    forbidden.push(Forbidden(vec![
                        (METHOD.to_owned(), *at as u32),
                        (name.to_owned(), level as u32),
                    ]));
                }
            }
        }
    };
    add(
        SIZE,
        SIZES.len(),
        &Candidate::has_sizes,
        &|candidate, size| candidate.has(size, 0),
        &|kept| Domain::Ordinal {
            values: kept.iter().map(|level| SIZES[*level]).collect(),
            absent: None,
        },
    );
    add(
        PLACE,
        PLACES.len(),
        &Candidate::has_places,
        &Candidate::has_place,
        &|kept| Domain::Categorical {
            choices: kept.iter().map(|level| PLACES[*level].to_owned()).collect(),
        },
    );
    // A size that a method has at one place only.
    for (at, candidate) in candidates.iter().enumerate() {
        for (size, place) in (0..SIZES.len()).flat_map(|s| (1..PLACES.len()).map(move |p| (s, p))) {
            if candidate.has(size, 0) && candidate.has_place(place) && !candidate.has(size, place) {
                let level = |name: &str, wanted: Value| {
                    let found = parameters.iter().find(|one| one.name == name)?;
                    Some((name.to_owned(), found.level(&wanted).ok()?))
                };
                let method = several.then(|| (METHOD.to_owned(), at as u32));
                let size = level(SIZE, Value::Number(SIZES[size]));
                let place = level(PLACE, Value::Choice(PLACES[place].to_owned()));
                forbidden.push(Forbidden(
                    method.into_iter().chain(size).chain(place).collect(),
                ));
            }
        }
    }
    parameters.push(Parameter::new(
        RATE,
        Domain::Ordinal {
            values: RATES.to_vec(),
            absent: None,
        },
    ));
    // Of one group there is nothing to choose.
    if groups.len() > 1 {
        let names = groups.iter().map(|group| match group.as_slice() {
            [first, .., last] => format!("{LAYER}{first}-{last}"),
            _ => format!("{LAYER}{}", group.first().unwrap_or(&0)),
        });
        let names: Vec<String> = names.collect();
        parameters.extend(
            names
                .iter()
                .map(|name| Parameter::new(name, Domain::Binary)),
        );
        forbidden.push(Forbidden(names.into_iter().map(|name| (name, 0)).collect()));
    }
    Space::new(parameters, forbidden)
}
