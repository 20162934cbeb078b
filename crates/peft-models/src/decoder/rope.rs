//! Rotary positions of packed rows.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use burn::{
    Tensor,
    tensor::{Device, FloatDType, TensorData},
};
use peft_core::kernels::rope;

use crate::RopeConfig;

/// The positions of the rows that a batch has of one sequence.
#[derive(Debug, Clone)]
pub struct Positions {
    /// From the sequence's beginning.
    pub rows: Range<usize>,
    /// The length by which frequencies are chosen that depend on it.
    pub reach: usize,
}

/// Cosines and sines of the positions of a batch's rows, `[rows, width / 2]`.
#[derive(Debug, Clone)]
pub struct RopeTable {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

/// The tables of one batch, each kind made when a block first asks for it.
#[derive(Debug, Clone, Default)]
pub struct RopeTables {
    known: Arc<Mutex<Vec<Known>>>,
}

#[derive(Debug)]
struct Known {
    config: RopeConfig,
    device: Device,
    dtype: FloatDType,
    table: RopeTable,
}

impl RopeTables {
    /// The tables of `config` for the rows of these sequences.
    pub fn get(
        &self,
        config: &RopeConfig,
        sequences: &[Positions],
        device: &Device,
        dtype: FloatDType,
    ) -> RopeTable {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |known: &&Known| {
            known.config == *config && known.device == *device && known.dtype == dtype
        };
        if let Some(known) = known.iter().find(fits) {
            return known.table.clone();
        }
        let table = RopeTable::new(config, sequences, device, dtype);
        known.push(Known {
            config: config.clone(),
            device: device.clone(),
            dtype,
            table: table.clone(),
        });
        table
    }
}

impl RopeTable {
    fn new(
        config: &RopeConfig,
        sequences: &[Positions],
        device: &Device,
        dtype: FloatDType,
    ) -> Self {
        // Angles in single precision, as in transformers, but where the computation is in double.
        let single = dtype != FloatDType::F64;
        let rows = sequences.iter().map(|sequence| sequence.rows.len()).sum();
        let shape = [rows, config.width / 2];
        let mut tables =
            [Vec::new(), Vec::new()].map(|_: Vec<f64>| Vec::with_capacity(shape[0] * shape[1]));
        let (mut of, mut frequencies, mut attention) = (None, Vec::new(), 1.0);
        for Positions { rows, reach } in sequences {
            // Sequences of one batch mostly have one length for all.
            if of != Some(*reach) {
                (frequencies, attention) = config.frequencies(*reach);
                of = Some(*reach);
            }
            for position in rows.clone() {
                for frequency in &frequencies {
                    let (sin, cos) = match single {
                        true => {
                            let (sin, cos) = (position as f32 * *frequency as f32).sin_cos();
                            (f64::from(sin), f64::from(cos))
                        }
                        false => (position as f64 * frequency).sin_cos(),
                    };
                    tables[0].push(cos * attention);
                    tables[1].push(sin * attention);
                }
            }
        }
        let [cos, sin] = tables.map(|values| {
            let values = TensorData::new(values, shape).convert_dtype(dtype.into());
            Tensor::from_data(values, (device, dtype.into()))
        });
        Self { cos, sin }
    }

    /// Rotates the first channels of every head of `x`, `[rows, heads · head_width]`: channel `i` and
    /// channel `i + width / 2` of a head by the angle of the row's position.
    pub fn rotate(&self, x: Tensor<2>, heads: usize) -> Tensor<2> {
        rope(x, self.cos.clone(), self.sin.clone(), heads)
    }
}
