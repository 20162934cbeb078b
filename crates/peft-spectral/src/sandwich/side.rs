use peft_fft::{LANES, Lanes};

use super::lanes::{add_to_rows, rows_to_lanes};
use crate::{
    Real,
    transform::{LaneScratch, Transform},
};

/// One side of a sandwich, for a block of up to [`LANES`] rows side by side.
pub struct Side<'a, T> {
    transform: &'a Transform<T>,
    /// The frequencies in use.
    used: &'a [u32],
    features: Vec<Lanes<T>>,
    /// Frequencies that are not in use stay zero in what is synthesised.
    wide: Vec<Lanes<T>>,
    spectrum: Vec<Lanes<T>>,
    scratch: LaneScratch<T>,
}

impl<'a, T: Real> Side<'a, T> {
    pub fn new(transform: &'a Transform<T>, used: &'a [u32]) -> Self {
        let zeros = |n: usize| vec![[T::zero(); LANES]; n];
        Self {
            transform,
            used,
            features: zeros(transform.features()),
            wide: zeros(transform.width()),
            spectrum: zeros(transform.width()),
            scratch: transform.lane_scratch(),
        }
    }

    /// The used frequencies of up to [`LANES`] rows; lanes without a row are zero.
    #[inline(always)]
    pub fn analyse(&mut self, rows: &[T], out: &mut [Lanes<T>]) {
        rows_to_lanes(rows, &mut self.features);
        self.transform
            .analyse_lanes(&self.features, &mut self.spectrum, &mut self.scratch);
        for (out, &row) in out.iter_mut().zip(self.used) {
            *out = self.spectrum[row as usize];
        }
    }

    /// Adds what the used frequencies come to, to as many rows as there are.
    #[inline(always)]
    pub fn synthesise(&mut self, values: &[Lanes<T>], rows: &mut [T]) {
        for (value, &row) in values.iter().zip(self.used) {
            self.wide[row as usize] = *value;
        }
        self.transform
            .synthesise_lanes(&self.wide, &mut self.features, &mut self.scratch);
        add_to_rows(&self.features, rows);
    }
}
