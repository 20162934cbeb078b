//! What the backward pass of the scan works on: the rows of a chunk, some channels of them at a time.

use super::super::real::Real;
use super::totals::SIDE;
use super::{CHUNK, Scan, lanes};

/// Channels that are worked on together: what one state needs of the rows of a chunk is 32 KiB in single precision, about a
/// first-level cache.
pub const GROUP: usize = 32;
/// Half of a group.
pub const HALF: usize = GROUP / 2;

// `totals` is made for these, and chunks are whole blocks of its rows.
const _: () = assert!(HALF == SIDE && CHUNK.is_multiple_of(SIDE));

pub type Part<T> = [T; GROUP];

/// Channels of a task, with what they sum up over the rows of all sequences.
pub struct Group<T> {
    pub from: usize,
    pub width: usize,
    pub bias: Part<T>,
    pub skip: Part<T>,
    /// A vector for each state, as the two below.
    pub rates: Vec<Part<T>>,
    /// `a_{t+1} ∘ λ_{t+1}`.
    pub carry: Vec<Part<T>>,
    pub to_rates: Vec<Part<T>>,
    pub to_skip: Part<T>,
    pub to_bias: Part<T>,
}

impl<T: Real> Group<T> {
    pub fn new(scan: &Scan<T>, from: usize) -> Self {
        let (zero, n) = ([T::ZERO; GROUP], scan.states());
        Self {
            from,
            width: scan.width::<GROUP>(from),
            bias: scan.bias_of(from),
            skip: lanes(scan.skip, from),
            rates: scan.rates_of(from),
            carry: vec![zero; n],
            to_rates: vec![zero; n],
            to_skip: zero,
            to_bias: zero,
        }
    }
}

/// A row of a chunk, for the channels of a group. It begins at a line of the cache, so that no vector is in two of them.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Line<T> {
    pub delta: Part<T>,
    pub drive: Part<T>,
    /// `g̃_t`.
    pub grad: Part<T>,
    /// What the scan gives before the gate.
    pub y: Part<T>,
    /// `s_t`.
    pub along: Part<T>,
    /// `Σ_n λ_t A m_t`.
    pub to_delta: Part<T>,
    /// `a_t` and `m_t` of one state.
    pub decay: Part<T>,
    pub kept: Part<T>,
}

/// The rows of a chunk, for the channels of a group: what each state needs of them, and the rest.
#[repr(align(64))]
pub struct Rows<T> {
    pub lines: [Line<T>; CHUNK],
    pub inputs: [Part<T>; CHUNK],
    pub slopes: [Part<T>; CHUNK],
    /// Of the gate's gradient what is not `y`.
    pub gates: [Part<T>; CHUNK],
    /// Gradients of `B` and `C` of one state, by halves of the channels.
    pub for_b: [[[T; HALF]; HALF]; CHUNK / HALF],
    pub for_c: [[[T; HALF]; HALF]; CHUNK / HALF],
}

impl<T: Real> Rows<T> {
    pub fn new() -> Self {
        let zero = [T::ZERO; GROUP];
        let line = Line {
            delta: zero,
            drive: zero,
            grad: zero,
            y: zero,
            along: zero,
            to_delta: zero,
            decay: zero,
            kept: zero,
        };
        Self {
            lines: [line; CHUNK],
            inputs: [zero; CHUNK],
            slopes: [zero; CHUNK],
            gates: [zero; CHUNK],
            for_b: [[[T::ZERO; HALF]; HALF]; CHUNK / HALF],
            for_c: [[[T::ZERO; HALF]; HALF]; CHUNK / HALF],
        }
    }
}

/// `B` and `C` of the rows of a chunk, and sums over the channels of a task for their gradients: a line for each state.
pub struct Mixing<T> {
    pub b: Vec<[T; CHUNK]>,
    pub c: Vec<[T; CHUNK]>,
    pub to_b: Vec<[T; CHUNK]>,
    pub to_c: Vec<[T; CHUNK]>,
}

impl<T: Real> Mixing<T> {
    pub fn new(states: usize) -> Self {
        let zeros = || vec![[T::ZERO; CHUNK]; states];
        Self {
            b: zeros(),
            c: zeros(),
            to_b: zeros(),
            to_c: zeros(),
        }
    }
}
