//! Rotary positions of packed rows.

use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    Tensor,
    tensor::{Device, FloatDType, TensorData},
};
use peft_core::kernels::{RowLayout, rope};

use crate::RopeConfig;

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
    /// The tables of `config` for these rows.
    pub fn get(
        &self,
        config: &RopeConfig,
        rows: &RowLayout,
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
        let table = RopeTable::new(config, rows, device, dtype);
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
    fn new(config: &RopeConfig, rows: &RowLayout, device: &Device, dtype: FloatDType) -> Self {
        let (frequencies, attention) = config.frequencies(rows.max_len());
        // Angles in single precision, as in transformers, but where the computation is in double.
        let single = dtype != FloatDType::F64;
        let shape = [rows.rows(), frequencies.len()];
        let mut tables =
            [Vec::new(), Vec::new()].map(|_: Vec<f64>| Vec::with_capacity(shape[0] * shape[1]));
        for bounds in rows.starts().windows(2) {
            for position in 0..bounds[1] - bounds[0] {
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
