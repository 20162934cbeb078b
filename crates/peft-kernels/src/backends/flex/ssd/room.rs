//! What the backward pass of a task works in.

use super::{CHUNK, Scan, Square, square};
use crate::backends::flex::real::Real;

/// Which gradients are wanted, and what they need.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub x: bool,
    pub b: bool,
    pub c: bool,
    /// Those of the steps, their bias or the rates.
    pub steps: bool,
    /// Those of the states between chunks.
    pub carried: bool,
}

impl Wanted {
    pub fn new([x, dt, a_log, b, c, _, bias, initial]: [bool; 8]) -> Self {
        let steps = dt || a_log || bias;
        Self {
            x,
            b,
            c,
            steps,
            carried: x || steps || b || initial,
        }
    }

    /// Those of `δ x`.
    pub fn driven(self) -> bool {
        self.x || self.steps
    }

    /// Those of the products of `B` and `C`.
    pub fn scores(self) -> bool {
        self.b || self.c || self.steps
    }
}

/// What a task works in.
pub struct Room<T> {
    /// `G`.
    pub scores: Square<T>,
    /// `D`.
    pub decays: Square<T>,
    /// `M`.
    pub products: Square<T>,
    /// `dG` of a head.
    pub pairs: Square<T>,
    /// `dG` of all heads.
    pub sums: Square<T>,
    /// `x̃`, `[q, P]`.
    pub driven: Vec<T>,
    /// `W ∘ x̃`, `[q, P]`.
    pub late: Vec<T>,
    /// `E ∘ g`, `[q, P]`.
    pub early: Vec<T>,
    /// `dx̃`, `[q, P]`.
    pub to_driven: Vec<T>,
    /// `E_t hᵀ g_t`, `[q, N]`.
    pub through: Vec<T>,
    /// `[q, N]`.
    pub to_b: Vec<T>,
    /// `[q, N]`.
    pub to_c: Vec<T>,
    /// `Λ` of every head of the task, `[heads, P, N]`.
    pub carry: Vec<T>,
    /// Of every head of the task: to rate, skip and bias.
    pub heads: Vec<[T; 3]>,
}

impl<T: Real> Room<T> {
    pub fn new(scan: &Scan<'_, T>) -> Self {
        let (p, n) = (scan.channels(), scan.states());
        let zeros = |count| vec![T::ZERO; count];
        Self {
            scores: square(),
            decays: square(),
            products: square(),
            pairs: square(),
            sums: square(),
            driven: zeros(CHUNK * p),
            late: zeros(CHUNK * p),
            early: zeros(CHUNK * p),
            to_driven: zeros(CHUNK * p),
            through: zeros(CHUNK * n),
            to_b: zeros(CHUNK * n),
            to_c: zeros(CHUNK * n),
            carry: zeros(scan.share() * p * n),
            heads: vec![[T::ZERO; 3]; scan.share()],
        }
    }
}
