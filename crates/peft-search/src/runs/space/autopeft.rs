//! AutoPEFT's space on a model (Zhou, Wan, Vulić and Korhonen, arXiv 2301.12132).

use peft_run::{
    Prepared, RunConfig,
    methods::{METHODS, SEVERAL},
};
use serde_json::{Map, Value as Json, json};

use super::{RunSpace, RunsError};
use crate::{Configuration, Domain, Forbidden, Parameter, SearchError, Space};

/// The modules: the space's parameter, the method that makes them, and its setting of size.
const MODULES: [(&str, &str, &str); 3] = [
    ("serial", "serial_parallel", "serial_size"),
    ("parallel", "serial_parallel", "parallel_size"),
    ("prefix", "prefix", "num_virtual_tokens"),
];
/// What stands before the numbers of layers.
const LAYER: &str = "layer_";

/// AutoPEFT's space: the sizes of a serial adapter, a parallel adapter and a prefix, shared by all active layers, and
/// for each layer whether it has them.
///
/// Sizes are `width/2ᵏ` down to 1, then 0: absent; of a width of 768 eleven. A configuration has at least one module and
/// one active layer. Its modules are trained in one run of [several methods](peft_run::methods::SeveralMethod), each at its own
/// method's rate. Its cost is what the file holds, biases included, which the paper's formula leaves out.
#[derive(Debug)]
pub struct AutoPeftSpace {
    space: Space,
    sizes: Vec<usize>,
    layers: Vec<usize>,
    /// Of each module and size the values in each layer.
    values: [Vec<Vec<usize>>; 3],
}

impl AutoPeftSpace {
    /// The space on a prepared base, with settings that all trials share.
    ///
    /// # Errors
    /// If a method that it is made of is not there, or does not fit the model.
    pub fn new(prepared: &Prepared, shared: &RunConfig) -> Result<Self, RunsError> {
        let known = |name: &&str| METHODS.iter().any(|entry| entry.name == *name);
        let mut missing: Vec<&str> = MODULES.map(|(_, method, _)| method).to_vec();
        missing.dedup();
        missing.retain(|name| !known(name));
        if !missing.is_empty() {
            return Err(RunsError::setting(
                "the space autopeft",
                format!(
                    "this build has no method {}",
                    missing.join(" and no method ")
                ),
                "search the space workspace, or a build with them",
            ));
        }
        let width = width(prepared, shared)?;
        let halves = (0..).map(|k| width >> k).take_while(|size| *size > 1);
        let sizes: Vec<usize> = halves.chain([1, 0]).collect();
        let mut layers: Vec<usize> = Vec::new();
        let mut values: [Vec<Vec<usize>>; 3] = Default::default();
        for (module, all) in values.iter_mut().enumerate() {
            for size in &sizes[..sizes.len() - 1] {
                let mut chosen = [0; 3];
                chosen[module] = *size;
                let config = several(shared, chosen, &[]);
                let footprint = prepared.footprint(&config)?;
                if layers.is_empty() {
                    layers = footprint
                        .sites
                        .iter()
                        .filter_map(|site| site.layer)
                        .collect();
                }
                let of_layer =
                    |layer: &usize| footprint.of_layers(|one| one == *layer).unwrap_or(0);
                all.push(layers.iter().map(of_layer).collect());
            }
            all.push(vec![0; layers.len()]);
        }
        let absent = sizes.len() as u32 - 1;
        let domain = Domain::Ordinal {
            values: sizes.iter().map(|size| *size as f64).collect(),
            absent: Some(absent),
        };
        let modules = MODULES.map(|(name, _, _)| Parameter::new(name, domain.clone()));
        let masks: Vec<String> = layers
            .iter()
            .map(|layer| format!("{LAYER}{layer}"))
            .collect();
        let of_layers = masks
            .iter()
            .map(|name| Parameter::new(name, Domain::Binary));
        let nothing = MODULES
            .map(|(name, _, _)| (name.to_owned(), absent))
            .to_vec();
        let nowhere = masks.iter().map(|name| (name.clone(), 0)).collect();
        let space = Space::new(
            modules.into_iter().chain(of_layers).collect(),
            vec![Forbidden(nothing), Forbidden(nowhere)],
        )?;
        Ok(Self {
            space,
            sizes,
            layers,
            values,
        })
    }

    /// The levels of the modules, and for each layer whether it is active.
    fn read<'a>(
        &self,
        configuration: &'a Configuration,
    ) -> ([usize; 3], impl Iterator<Item = bool> + 'a) {
        let levels =
            std::array::from_fn(|at| configuration.0.get(at).copied().unwrap_or(0) as usize);
        let masks = configuration.0.iter().skip(MODULES.len());
        (levels, masks.map(|level| *level == 1))
    }
}

/// Width of the blocks: that of the slots of the modules.
fn width(prepared: &Prepared, shared: &RunConfig) -> Result<usize, RunsError> {
    // Of a serial module of size 1 each layer holds 2 · width + 1 + width values.
    let one = prepared.footprint(&several(shared, [1, 0, 0], &[]))?;
    let values = one.sites.first().map_or(0, |site| site.values);
    match values.checked_sub(1) {
        Some(values) if values >= 6 && values % 3 == 0 => Ok(values / 3),
        _ => Err(RunsError::setting(
            "the space autopeft",
            "the model's blocks have no place for a serial adapter",
            "search the space workspace",
        )),
    }
}

/// The run of modules of these sizes in some layers, in all where none is named.
fn several(shared: &RunConfig, sizes: [usize; 3], layers: &[usize]) -> RunConfig {
    let mut parts: Vec<Map<String, Json>> = Vec::new();
    let adapters = sizes[0] + sizes[1] > 0;
    if adapters {
        let part =
            json!({ "method": MODULES[0].1, MODULES[0].2: sizes[0], MODULES[1].2: sizes[1] });
        parts.extend(part.as_object().cloned());
    }
    if sizes[2] > 0 {
        // Positions are the sequence's own, as in the paper's library.
        let part =
            json!({ "method": MODULES[2].1, MODULES[2].2: sizes[2], "shift_positions": false });
        parts.extend(part.as_object().cloned());
    }
    if !layers.is_empty() {
        for part in &mut parts {
            part.insert("layers".into(), json!(layers));
        }
    }
    RunConfig {
        method: SEVERAL.name.to_owned(),
        method_config: Map::from_iter([("parts".to_owned(), json!(parts))]),
        ..shared.clone()
    }
}

impl RunSpace for AutoPeftSpace {
    fn space(&self) -> &Space {
        &self.space
    }

    fn settings(
        &self,
        shared: &RunConfig,
        configuration: &Configuration,
    ) -> Result<RunConfig, RunsError> {
        self.space.check(configuration)?;
        let (levels, active) = self.read(configuration);
        let sizes = levels.map(|level| self.sizes.get(level).copied());
        let [Some(serial), Some(parallel), Some(prefix)] = sizes else {
            let levels = configuration.0.clone();
            let reason = "a module has no such size".to_owned();
            return Err(SearchError::Configuration { levels, reason }.into());
        };
        let layers = self.layers.iter().zip(active);
        let layers: Vec<usize> = layers
            .filter(|(_, on)| *on)
            .map(|(layer, _)| *layer)
            .collect();
        Ok(several(shared, [serial, parallel, prefix], &layers))
    }

    fn values(&self, configuration: &Configuration) -> f64 {
        let (levels, active) = self.read(configuration);
        let of_layer = |layer: usize| -> usize {
            let modules = self.values.iter().zip(levels);
            modules
                .map(|(sizes, level)| sizes[level.min(sizes.len() - 1)][layer])
                .sum()
        };
        let active = active.enumerate().filter(|(_, on)| *on);
        active.map(|(layer, _)| of_layer(layer)).sum::<usize>() as f64
    }

    fn most(&self) -> f64 {
        let largest = self.values.iter().filter_map(|sizes| sizes.first());
        1.05 * largest.flatten().sum::<usize>() as f64
    }

    /// Known good configurations at the nearest sizes: a serial adapter of d/16 in all layers (Pfeiffer), a parallel one
    /// of d/2 (He et al.), that with a prefix of d/32 (MAM), a prefix of d/64 alone, and the serial adapter in the upper
    /// half of the layers.
    fn starts(&self) -> Vec<Configuration> {
        let absent = self.sizes.len() as u32 - 1;
        let half = self.layers.len() / 2;
        let published = [
            ([Some(4), None, None], 0),
            ([None, Some(1), None], 0),
            ([None, Some(1), Some(5)], 0),
            ([None, None, Some(6)], 0),
            ([Some(4), None, None], half),
        ];
        let build = |(sizes, skipped): ([Option<u32>; 3], usize)| {
            // Of a narrow model the smallest size is as near as it gets; what is there stays there.
            let sizes = sizes.map(|level| level.map_or(absent, |level| level.min(absent - 1)));
            let layers = (0..self.layers.len()).map(|layer| u32::from(layer >= skipped));
            Configuration(sizes.into_iter().chain(layers).collect())
        };
        published.into_iter().map(build).collect()
    }
}
