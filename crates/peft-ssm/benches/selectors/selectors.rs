//! What chooses.

use peft_core::kernels::{key_of, uniform};
use peft_ssm::{Scores, SdtConfig, SdtSelector};

use super::{
    model::{LENGTH, Layer, WIDTH, gradients, loss},
    toy::{Choice, Instance, Toy},
};

/// The product's selectors by their names in settings, and others for comparison:
///
/// - `released`: the published code's, channels and states by what is left of their output after half of a sequence, and of those
///   the ones whose `A` moved farthest, with its two mistakes: a real sum for `A`, and a frozen real part without its sign.
/// - `saliency`: by `|Σ g C|`, what the loss would change by to first order if an entry were silenced.
/// - `removal`: by the loss without a channel, then without a state, one at a time, of the frozen model: the published "loss".
/// - `removal_warmed`: the same of the model behind the warm-up.
/// - `kept_warmed`: of every layer the choice whose own loss is the least, the others whole, behind the warm-up; the number
///   of passes grows with the number of choices.
pub const SELECTORS: [&str; 11] = [
    "change",
    "decay",
    "gradient_change",
    "fisher",
    "loss_change",
    "random",
    "released",
    "saliency",
    "removal",
    "removal_warmed",
    "kept_warmed",
];

/// What a warm-up did.
pub struct Selected {
    /// `Σ g`, `Σ g²` and `−Σ g dΔ` of each layer's four kinds of entries.
    sums: [Vec<[Vec<f64>; 4]>; 3],
    /// The model behind it.
    pub model: Vec<Layer>,
}

impl Selected {
    pub fn new(sizes: &[usize]) -> Self {
        let zeros = |size: &usize| [0; 4].map(|_| vec![0.0; *size]);
        Self {
            sums: [0; 3].map(|_| sizes.iter().map(zeros).collect()),
            model: Vec::new(),
        }
    }

    /// Add a step up.
    pub fn look(&mut self, before: &[Layer], after: &[Layer], slopes: &[Layer]) {
        for (layer, slopes) in slopes.iter().enumerate() {
            for (kind, slopes) in slopes.entries.iter().enumerate() {
                let moved = |model: &[Layer], entry: usize| model[layer].entries[kind][entry];
                for (entry, g) in slopes.iter().enumerate() {
                    let way = moved(after, entry) - moved(before, entry);
                    for (sum, value) in self.sums.iter_mut().zip([*g, g * g, -g * way]) {
                        sum[layer][kind][entry] += value;
                    }
                }
            }
        }
    }
}

/// The numbers of the largest, rising; of equals the first.
fn largest(scores: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    order.truncate(count);
    order.sort_unstable();
    order
}

fn by_scores(toy: &Toy, channels: &[f64], states: &[f64]) -> Vec<usize> {
    let chosen = largest(channels, toy.channels).into_iter();
    let n = toy.states;
    chosen
        .flat_map(|d| {
            let own = largest(&states[d * n..(d + 1) * n], toy.chosen_states).into_iter();
            own.map(move |state| d * n + state)
        })
        .collect()
}

pub fn choose(toy: &Toy, instance: &Instance, warmed: &Selected, selector: &str) -> Choice {
    let own = match selector {
        "change" => SdtSelector::Change,
        "decay" => SdtSelector::Decay,
        "gradient_change" => SdtSelector::GradientChange,
        "fisher" => SdtSelector::Fisher,
        "loss_change" => SdtSelector::LossChange,
        "random" => return drawn(toy, instance),
        "removal" => return removal(toy, instance, instance.frozen.clone()),
        "removal_warmed" => return removal(toy, instance, warmed.model.clone()),
        "kept_warmed" => return kept(toy, instance, &warmed.model),
        _ => {
            let layers = instance.frozen.iter().zip(&warmed.model).enumerate();
            let slopes = (selector == "saliency").then(|| {
                let (rows, wanted) = instance.rows("choice", 0);
                gradients(&warmed.model, &rows, &wanted).1
            });
            return layers
                .map(|(index, (frozen, warm))| match &slopes {
                    Some(slopes) => saliency(toy, warm, &slopes[index]),
                    None => released(toy, frozen, warm),
                })
                .collect();
        }
    };
    let config = SdtConfig {
        selector: own,
        ..SdtConfig::default()
    };
    (0..toy.layers)
        .map(|layer| {
            let sums = match own {
                SdtSelector::Fisher => &warmed.sums[1],
                SdtSelector::LossChange => &warmed.sums[2],
                _ => &warmed.sums[0],
            };
            // Decays have one number an entry; of other measures those of all its numbers are added up.
            let kinds = if own == SdtSelector::Decay { 1 } else { 4 };
            let mut channels = vec![0.0; WIDTH];
            let mut states = vec![0.0; WIDTH * toy.states];
            for (kind, sums) in sums[layer].iter().enumerate().take(kinds) {
                let before = &instance.frozen[layer].entries[kind];
                let after = &warmed.model[layer].entries[kind];
                let change: Vec<f64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
                let scores = Scores::new(&config, toy.states, before, &change, sums);
                let add = |all: &mut [f64], more: &[f64]| {
                    all.iter_mut().zip(more).for_each(|(a, b)| *a += b);
                };
                add(&mut channels, &scores.channels);
                add(&mut states, &scores.states);
            }
            by_scores(toy, &channels, &states)
        })
        .collect()
}

fn drawn(toy: &Toy, instance: &Instance) -> Choice {
    let of_layer = toy.of_layer();
    let (rows, _) = instance.rows("choice", 1);
    // A key of the instance's own.
    let seed = rows.concat().iter().sum::<f64>() as u64;
    let draws = uniform(key_of(seed, "random", 0), toy.layers).into_iter();
    draws
        .map(|u| {
            of_layer[((f64::from(u) * of_layer.len() as f64) as usize).min(of_layer.len() - 1)]
                .clone()
        })
        .collect()
}

fn saliency(toy: &Toy, layer: &Layer, slopes: &Layer) -> Vec<usize> {
    let states: Vec<f64> = (0..WIDTH * toy.states)
        .map(|entry| {
            let part = |kind: usize| layer.entries[kind][entry] * slopes.entries[kind][entry];
            (part(2) + part(3)).abs()
        })
        .collect();
    let channels: Vec<f64> = states
        .chunks(toy.states)
        .map(|row| row.iter().sum())
        .collect();
    by_scores(toy, &channels, &states)
}

fn released(toy: &Toy, frozen: &Layer, warm: &Layer) -> Vec<usize> {
    let n = toy.states;
    let size = |entries: &[f64]| entries.iter().map(|x| x * x).sum::<f64>().sqrt();
    let [left, moved]: [Vec<f64>; 2] = [true, false].map(|left| {
        (0..WIDTH * n)
            .map(|entry| {
                let real = -warm.entries[0][entry].exp();
                let turn = warm.entries[1][entry];
                if left {
                    let (a, step) = (real + turn, warm.log_step[entry / n].exp());
                    let c = warm.entries[2][entry].hypot(warm.entries[3][entry]);
                    let drive = (((a * step).exp() - 1.0) / a).abs();
                    c * drive * (a * step * (LENGTH / 2) as f64).exp()
                } else {
                    let old = frozen.entries[0][entry].exp();
                    (real - old).hypot(turn - frozen.entries[1][entry])
                }
            })
            .collect()
    });
    let channels = |states: &[f64]| -> Vec<f64> { states.chunks(n).map(size).collect() };
    match toy.silences {
        true => by_scores(toy, &channels(&left), &left),
        // All are usable: what moved farthest is trained.
        false => by_scores(toy, &channels(&moved), &moved),
    }
}

/// One after the other: channels whose absence costs most, what else there is being silenced, then states of each.
fn removal(toy: &Toy, instance: &Instance, mut model: Vec<Layer>) -> Choice {
    let n = toy.states;
    let mut round = 0;
    let mut without = |model: &[Layer], layer: usize, entries: &[usize]| {
        round += 1;
        let (rows, wanted) = instance.rows("removal", round);
        let mut model = model.to_vec();
        entries
            .iter()
            .for_each(|entry| model[layer].silence(*entry));
        loss(&model, &rows, &wanted)
    };
    (0..toy.layers)
        .map(|layer| {
            let of = |d: usize| (d * n..(d + 1) * n).collect::<Vec<usize>>();
            let losses: Vec<f64> = (0..WIDTH).map(|d| without(&model, layer, &of(d))).collect();
            let channels = largest(&losses, toy.channels);
            if toy.silences {
                for d in (0..WIDTH).filter(|d| !channels.contains(d)) {
                    of(d).iter().for_each(|entry| model[layer].silence(*entry));
                }
            }
            let mut chosen = Vec::new();
            for d in channels {
                let losses: Vec<f64> = of(d)
                    .iter()
                    .map(|entry| without(&model, layer, &[*entry]))
                    .collect();
                let states = largest(&losses, toy.chosen_states);
                for state in 0..n {
                    if states.contains(&state) {
                        chosen.push(d * n + state);
                    } else if toy.silences {
                        model[layer].silence(d * n + state);
                    }
                }
            }
            chosen
        })
        .collect()
}

/// The choice of every layer whose own loss is the least, with all of the other layers.
fn kept(toy: &Toy, instance: &Instance, model: &[Layer]) -> Choice {
    let (rows, wanted) = instance.rows("choice", 0);
    (0..toy.layers)
        .map(|layer| {
            let losses = toy.of_layer().into_iter().map(|chosen| {
                let mut model = model.to_vec();
                for entry in 0..WIDTH * toy.states {
                    if !chosen.contains(&entry) {
                        model[layer].silence(entry);
                    }
                }
                (loss(&model, &rows, &wanted), chosen)
            });
            let best = losses.min_by(|a, b| a.0.total_cmp(&b.0));
            best.map(|(_, chosen)| chosen).unwrap_or_default()
        })
        .collect()
}
