//! Deep matrix completion (2406.04112): a low-rank matrix found from some of its entries by gradient
//! descent on a product of matrices that start near zero.
//!
//! ```text
//! loss(f) = 1/(2d²) · Σ_{(i,j) observed} (f − Φ)²_ij        f = W_L … W_1,  W_l(0) = ε · orthogonal
//! ```
//!
//! The depth biases descent to low rank: the unobserved entries come out right without any penalty. It
//! is slow, for all factors are `d × d`. [`Factored::compress`] trains the same trajectory in the
//! subspaces that it stays in, with `2r` columns instead of `d`, and never forms a `d × d` matrix: a step
//! costs a few operations for each observed entry.
//!
//! | type | what it is |
//! |---|---|
//! | [`Problem`] | the matrix and what is observed of it |
//! | [`Full`] | the product at full width |
//! | [`Factored`] | the compressed product; also the random narrow one that it is compared with |
//! | [`complete`] | descent, with its curve |
//!
//! ```
//! use peft_lowrank::completion::{CompletionSettings, Factored, Full, Problem, complete};
//!
//! let problem = Problem::random(30, 1, 0.6, 7);
//! let original = Full::new(30, 3, 0.1, 7);
//! let mut compressed = Factored::compress(&original, &problem, 1, 0.01, 7);
//! let settings = CompletionSettings { rate: 13.5, iterations: 4000, ..CompletionSettings::default() };
//! let curve = complete(&mut compressed, &problem, &settings);
//! assert!(curve.points.last().unwrap().error < curve.points[0].error);
//! ```

mod descent;
mod factored;
mod full;
mod problem;

pub use descent::{CompletionSettings, Curve, Network, Point, complete, complete_watched};
pub use factored::Factored;
pub use full::Full;
pub use problem::Problem;
