//! Which channels and states are trained.

use burn::tensor::TensorData;
use peft_core::{
    AdapterError, Fields, HostTensor, HostTensorExt, WarmUpChoice, Warmed, kernels::key_of,
    places::drawn,
};

use super::{SdtBudget, SdtConfig, SdtMethod, SdtSelector, config::Counts, warm_up::SUM};

/// What is trained of a layer's `A_log [D, N]`, and given up of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerChoice {
    /// Channels of which something is trained, rising.
    pub channels: Vec<i64>,
    /// Entries `channel · N + state` that are, rising.
    pub places: Vec<i64>,
    /// Channels that are given up, rising.
    pub zeroed: Vec<i64>,
}

/// A path without its last part: the block that parameters belong to.
pub fn block(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(block, _)| block)
}

impl LayerChoice {
    /// Drawn by the seed and the block's path, every choice equally likely.
    pub fn drawn(width: usize, states: usize, counts: Counts, seed: u64, path: &str) -> Self {
        let block = block(path);
        let key = key_of(seed, block, 0);
        // A smaller draw is part of a larger one.
        let channels = drawn([width, 1], counts.channels, key);
        let more = drawn([width, 1], counts.channels + counts.zeroed, key);
        let zeroed = more.into_iter().filter(|one| !channels.contains(one));
        let zeroed = zeroed.map(|channel| channel as i64).collect();
        let places = channels.iter().flat_map(|&channel| {
            let key = key_of(seed, block, channel + 1);
            let chosen = drawn([1, states], counts.states, key).into_iter();
            chosen.map(move |state| (channel * states as u64 + state) as i64)
        });
        Self {
            places: places.collect(),
            zeroed,
            channels: channels.iter().map(|&channel| channel as i64).collect(),
        }
    }

    fn fields(&self, name: &str) -> Result<Fields<HostTensor>, AdapterError> {
        let mut fields = Fields::new();
        for (field, values) in [
            ("channels", &self.channels),
            ("places", &self.places),
            ("zeroed", &self.zeroed),
        ] {
            let data = TensorData::new(values.clone(), [values.len()]);
            fields.insert(field.to_owned(), HostTensor::from_data(name, data)?);
        }
        Ok(fields)
    }

    /// What was chosen of the layer that a target belongs to, if anything was.
    pub fn of(chosen: &WarmUpChoice, path: &str) -> Result<Option<Self>, AdapterError> {
        let mut layers = chosen.iter();
        let Some((name, fields)) = layers.find(|(name, _)| block(name) == block(path)) else {
            return Ok(None);
        };
        let read = |field: &str| match fields.get(field) {
            Some(tensor) => tensor.to_ints(name),
            None => Err(AdapterError::MissingTensor {
                module: name.clone(),
                suffix: field.to_owned(),
                found: fields.keys().cloned().collect(),
            }),
        };
        Ok(Some(Self {
            channels: read("channels")?,
            places: read("places")?,
            zeroed: read("zeroed")?,
        }))
    }
}

/// How important the channels of a layer are, and their states.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// `[D]`
    pub channels: Vec<f64>,
    /// `[D · N]`
    pub states: Vec<f64>,
}

impl Scores {
    /// By what a warm-up did to a parameter `before [D, N]`: its `change`, and the sums over the steps that the selector
    /// asks for.
    pub fn new(
        config: &SdtConfig,
        states: usize,
        before: &[f64],
        change: &[f64],
        sums: &[f64],
    ) -> Self {
        let pairs = || change.iter().zip(sums);
        let entries: Vec<f64> = match config.selector {
            SdtSelector::Decay => {
                let decay = |a: f64| (-config.typical_step * a.exp()).exp();
                let decays = |moved: bool| -> Vec<f64> {
                    let all = before.iter().zip(change);
                    all.map(|(a, d)| decay(if moved { a + d } else { *a }))
                        .collect()
                };
                let (old, new) = (decays(false), decays(true));
                let length = |row: &[f64]| row.iter().map(|a| a * a).sum::<f64>().sqrt();
                let rows = new.chunks(states).zip(old.chunks(states));
                return Self {
                    channels: rows.map(|(a, b)| (length(a) - length(b)).abs()).collect(),
                    states: new.iter().zip(&old).map(|(a, b)| (a - b).abs()).collect(),
                };
            }
            SdtSelector::GradientChange => pairs().map(|(d, g)| (d * g).abs()).collect(),
            SdtSelector::Fisher | SdtSelector::LossChange => sums.to_vec(),
            SdtSelector::Change | SdtSelector::Random => change.iter().map(|d| d * d).collect(),
        };
        let of_channel = |row: &[f64]| row.iter().sum();
        Self {
            channels: entries.chunks(states).map(of_channel).collect(),
            states: entries,
        }
    }
}

/// The places of some scores, from the largest to the least; of equals the first before.
fn ranked(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order
}

/// The places of the `count` largest of some scores, rising; of equals the first.
pub fn largest(scores: &[f64], count: usize) -> Vec<usize> {
    let mut order = ranked(scores);
    order.truncate(count);
    order.sort_unstable();
    order
}

/// One layer's scores, by the checkpoint's name of its `A_log`.
struct Layer<'a> {
    name: &'a str,
    states: usize,
    counts: Counts,
    scores: Scores,
}

impl Layer<'_> {
    /// The choice of so many channels.
    fn choice(&self, channels: usize) -> LayerChoice {
        let (scores, n) = (&self.scores, self.states);
        let chosen = largest(&scores.channels, channels);
        let places = chosen.iter().flat_map(|channel| {
            let row = &scores.states[channel * n..(channel + 1) * n];
            let states = largest(row, self.counts.states).into_iter();
            states.map(move |state| (channel * n + state) as i64)
        });
        let least: Vec<f64> = (scores.channels.iter().enumerate())
            .map(|(channel, score)| match chosen.binary_search(&channel) {
                Ok(_) => f64::NEG_INFINITY,
                Err(_) => -score,
            })
            .collect();
        let zeroed = largest(&least, self.counts.zeroed);
        LayerChoice {
            places: places.collect(),
            channels: chosen.iter().map(|&channel| channel as i64).collect(),
            zeroed: zeroed.into_iter().map(|channel| channel as i64).collect(),
        }
    }
}

/// Channels of each layer where they are shared out over the model: the best of every layer, then the best of all, as long
/// as those that its layer gives up are left to it.
fn shared_out(layers: &[Layer]) -> Vec<usize> {
    let total: usize = layers.iter().map(|layer| layer.counts.channels).sum();
    let mut shares = vec![1; layers.len()];
    let (mut scores, mut owners) = (Vec::new(), Vec::new());
    for (index, layer) in layers.iter().enumerate() {
        let first = largest(&layer.scores.channels, 1);
        for (channel, score) in layer.scores.channels.iter().enumerate() {
            if !first.contains(&channel) {
                scores.push(*score);
                owners.push(index);
            }
        }
    }
    let mut left = total.saturating_sub(layers.len());
    for place in ranked(&scores) {
        let (layer, share) = (&layers[owners[place]], &mut shares[owners[place]]);
        if left > 0 && *share + layer.counts.zeroed < layer.scores.channels.len() {
            (*share, left) = (*share + 1, left - 1);
        }
    }
    shares
}

/// What is trained of every layer, by what a warm-up did.
pub fn choose(config: &SdtConfig, warmed: &Warmed) -> Result<WarmUpChoice, AdapterError> {
    let fault = |problem: String, fix: &str| AdapterError::Config {
        method: SdtMethod::NAME.into(),
        problem,
        fix: fix.into(),
    };
    let values = |name: &str, tensor: &HostTensor| -> Result<Vec<f64>, AdapterError> {
        Ok(tensor.to_data(name)?.iter::<f64>().collect())
    };
    let mut layers = Vec::new();
    for (name, before) in &warmed.before {
        let (Some(change), &[width, states]) = (warmed.changes.get(name), before.shape.as_slice())
        else {
            return Err(fault(
                format!("`{name}` has the shape {:?}", before.shape),
                "target parameters of two dimensions, channels and states, such as A_log",
            ));
        };
        let (before, change) = (values(name, before)?, values(name, change)?);
        let sums = warmed.memory.get(name).and_then(|all| all.get(SUM));
        let sums = match sums {
            Some(sums) => values(name, sums)?,
            None => vec![0.0; change.len()],
        };
        let scores = Scores::new(config, states, &before, &change, &sums);
        let broken = |score: &f64| !score.is_finite();
        if sums.len() != change.len() || scores.states.iter().any(broken) {
            return Err(fault(
                format!("the warm-up left `{name}` with values that are not finite"),
                "use a smaller learning rate",
            ));
        }
        layers.push(Layer {
            name,
            states,
            counts: config.counts(width, states),
            scores,
        });
    }
    let shares = match config.budget {
        SdtBudget::Layer => layers.iter().map(|layer| layer.counts.channels).collect(),
        SdtBudget::Model => shared_out(&layers),
    };
    let mut chosen = WarmUpChoice::new();
    for (layer, channels) in layers.iter().zip(shares) {
        let fields = layer.choice(channels).fields(layer.name)?;
        chosen.insert(layer.name.to_owned(), fields);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(values: &[f64], shape: [usize; 2]) -> HostTensor {
        HostTensor::from_data("x", TensorData::new(values.to_vec(), shape)).unwrap()
    }

    fn warmed(layers: &[(&str, &[f64])]) -> Warmed {
        let mut warmed = Warmed::default();
        for (name, change) in layers {
            let shape = [change.len() / 2, 2];
            warmed
                .before
                .insert((*name).into(), host(&vec![0.0; change.len()], shape));
            warmed.changes.insert((*name).into(), host(change, shape));
        }
        warmed
    }

    fn config(channels: f64, states: f64) -> SdtConfig {
        SdtConfig {
            channels,
            states,
            ..SdtConfig::default()
        }
    }

    /// T11: of equals the first; twice the same.
    #[test]
    fn the_channels_that_moved_most_are_chosen_and_their_states() {
        let change = [0.1, 0.2, -0.9, 0.0, 0.9, 0.0, 0.3, 0.3];
        let warmed = warmed(&[("m.A_log", &change)]);
        let chosen = choose(&config(0.25, 0.5), &warmed).unwrap();
        let layer = LayerChoice::of(&chosen, "m.x_proj").unwrap().unwrap();
        assert_eq!(
            (layer.channels.clone(), layer.places.clone()),
            (vec![1], vec![2])
        );
        assert_eq!(chosen, choose(&config(0.25, 0.5), &warmed).unwrap());
        assert_eq!(LayerChoice::of(&chosen, "other.x_proj").unwrap(), None);
        let more = choose(&config(0.75, 0.5), &warmed).unwrap();
        let layer = LayerChoice::of(&more, "m.A_log").unwrap().unwrap();
        assert_eq!(layer.channels, [1, 2, 3]);
        assert_eq!(layer.places, [2, 4, 6]);
        let zeroing = SdtConfig {
            zero_channels: 0.5,
            ..config(0.25, 0.5)
        };
        let chosen = choose(&zeroing, &warmed).unwrap();
        let layer = LayerChoice::of(&chosen, "m.A_log").unwrap().unwrap();
        assert_eq!((layer.channels, layer.zeroed), (vec![1], vec![0, 3]));
    }

    #[test]
    fn a_budget_of_the_model_goes_where_most_happened() {
        let (calm, busy) = ([0.1; 8], [2.0, 0.0, 3.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        let warmed = warmed(&[("0.A_log", &calm), ("1.A_log", &busy)]);
        let shared = SdtConfig {
            budget: SdtBudget::Model,
            ..config(0.5, 0.5)
        };
        let chosen = choose(&shared, &warmed).unwrap();
        let of = |path: &str| LayerChoice::of(&chosen, path).unwrap().unwrap();
        assert_eq!(of("0.A_log").channels, [0]);
        assert_eq!(of("1.A_log").channels, [0, 1, 2]);
    }

    #[test]
    fn selectors_are_their_formulas() {
        let (before, change) = ([0.5, -1.0, 0.0, 2.0], [0.1, 0.0, -0.2, 0.0]);
        let sums = [2.0, -3.0, 0.5, 0.25];
        let of = |selector| {
            let config = SdtConfig {
                selector,
                typical_step: 0.3,
                ..SdtConfig::default()
            };
            Scores::new(&config, 2, &before, &change, &sums)
        };
        let close = |found: &[f64], wanted: &[f64]| {
            for (a, b) in found.iter().zip(wanted) {
                assert!((a - b).abs() < 1e-15, "{found:?} {wanted:?}");
            }
        };
        close(&of(SdtSelector::Change).channels, &[0.01, 0.04]);
        close(&of(SdtSelector::GradientChange).channels, &[0.2, 0.1]);
        close(&of(SdtSelector::LossChange).channels, &[-1.0, 0.75]);
        let decay = |a: f64| (-0.3 * a.exp()).exp();
        let length = |a: f64, b: f64| decay(a).hypot(decay(b));
        let wanted = [
            (length(0.6, -1.0) - length(0.5, -1.0)).abs(),
            (length(-0.2, 2.0) - length(0.0, 2.0)).abs(),
        ];
        close(&of(SdtSelector::Decay).channels, &wanted);
        close(&of(SdtSelector::Decay).states[1..2], &[0.0]);
    }

    #[test]
    fn draws_depend_on_seed_and_block_only() {
        let counts = config(0.25, 0.5).counts(8, 4);
        let of = |seed, path| LayerChoice::drawn(8, 4, counts, seed, path);
        assert_eq!(of(1, "m.A_log"), of(1, "m.x_proj"));
        assert_ne!(of(1, "m.A_log"), of(2, "m.A_log"));
        assert_ne!(of(1, "m.A_log"), of(1, "n.A_log"));
        let layer = of(1, "m.A_log");
        assert_eq!((layer.channels.len(), layer.places.len()), (2, 4));
        for place in &layer.places {
            assert!(layer.channels.contains(&(place / 4)));
        }
    }
}
