//! Ranks of selectors among all choices of a toy, as JSON: `cargo bench --workspace --bench selectors -- [INSTANCES] [STEPS]`.
//!
//! The toys are those of the released code of [2410.09016](https://arxiv.org/abs/2410.09016): a frozen deep S4 model with four
//! channels learns what a smaller one does, of every choice of channels and states that there is. `keep`: two layers of
//! two states a channel and a target of one layer and one state; of every layer two channels with one state each are kept and
//! trained, and the others silenced (24² = 576 choices). `train`: one layer of four states and such a target; two channels
//! with two states each are trained, and nothing is silenced (216 choices). Choices are ranked by the area below the curve
//! of the loss; every choice sees the same rows.

mod model;
mod selectors;
mod toy;

use serde_json::json;
use toy::Toy;

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|one| one.parse().ok())
        .collect();
    let instances = numbers.first().copied().unwrap_or(4) as u64;
    let steps = numbers.get(1).copied().unwrap_or(500);
    let mut toys = Vec::new();
    for toy in [Toy::keep(), Toy::train()] {
        let mut found = Vec::new();
        for seed in 0..instances {
            found.push(toy.run(seed, steps));
            eprintln!("{}: instance {} of {instances}", toy.name, seed + 1);
        }
        toys.push(json!({
            "name": toy.name, "choices": toy.choices().len(), "instances": found,
        }));
    }
    println!("{}", json!({ "steps": steps, "toys": toys }));
}
