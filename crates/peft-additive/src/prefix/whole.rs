//! PEFT's one tensor of all prefixes, and what comes of a projection.

use std::collections::BTreeMap;

use burn::tensor::TensorData;
use indexmap::IndexMap;
use peft_core::{AdapterError, Fields, HostTensor, Site, Target};

use super::{PrefixMethod, method::TENSORS};

/// The tensor's name: `[p, layers · 2 · w]`, of each row the keys and the values of every layer in turn.
pub const WHOLE: &str = "prompt_embeddings";

fn attentions(sites: &[Site]) -> impl Iterator<Item = &Site> {
    sites
        .iter()
        .filter(|site| site.path.rsplit('.').next() == Some(PrefixMethod::SLOT))
}

/// The keys and values of every attention.
///
/// # Errors
/// If the model has attentions of other widths, or another number of them.
pub fn spread(
    whole: &Fields<HostTensor>,
    sites: &[Site],
) -> Result<BTreeMap<String, Fields<HostTensor>>, AdapterError> {
    let mut spread = BTreeMap::new();
    let Some(all) = whole.get(WHOLE) else {
        return Ok(spread);
    };
    let widths = attentions(sites).map(|site| 2 * site.matrix()[0]);
    let wide: usize = widths.sum();
    let shape = |found: &[usize]| AdapterError::Shape {
        name: WHOLE.to_owned(),
        found: found.to_vec(),
        expected: vec![found.first().copied().unwrap_or(0), wide],
    };
    let [rows, columns] = *all.shape.as_slice() else {
        return Err(shape(&all.shape));
    };
    let fits = rows > 0 && columns == wide && wide > 0;
    if !fits || !all.bytes.len().is_multiple_of(rows * wide) {
        return Err(shape(&all.shape));
    }
    let size = all.bytes.len() / (rows * wide);
    let mut first = 0;
    for site in attentions(sites) {
        let width = site.matrix()[0];
        let mut tensors = Fields::new();
        for suffix in TENSORS {
            let lines = all.bytes.chunks_exact(wide * size);
            let part = lines.flat_map(|line| &line[first * size..(first + width) * size]);
            let tensor = HostTensor {
                dtype: all.dtype,
                shape: vec![rows, width],
                bytes: part.copied().collect(),
            };
            tensors.insert(suffix.to_owned(), tensor);
            first += width;
        }
        spread.insert(site.path.clone(), tensors);
    }
    Ok(spread)
}

/// The tensor of all prefixes, where every attention has one of as many rows; nothing is taken out of `modules` otherwise.
pub fn gather(
    modules: &mut IndexMap<String, Fields<HostTensor>>,
    sites: &[Site],
) -> Fields<HostTensor> {
    let parts = |modules: &IndexMap<String, Fields<HostTensor>>| -> Option<Vec<HostTensor>> {
        let mut parts = Vec::new();
        for site in attentions(sites) {
            let tensors = modules.get(&site.path)?;
            for suffix in TENSORS {
                parts.push(tensors.get(suffix)?.clone());
            }
        }
        let first = parts.first()?;
        let (rows, dtype) = (first.shape.first().copied()?, first.dtype);
        let alike = |one: &HostTensor| {
            one.dtype == dtype && one.shape.len() == 2 && one.shape[0] == rows && rows > 0
        };
        parts.iter().all(alike).then_some(parts)
    };
    let Some(parts) = parts(modules) else {
        return Fields::new();
    };
    let (rows, dtype) = (parts[0].shape[0], parts[0].dtype);
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.bytes.len()).sum());
    for row in 0..rows {
        for part in &parts {
            let line = part.bytes.len() / rows;
            bytes.extend_from_slice(&part.bytes[row * line..(row + 1) * line]);
        }
    }
    let wide = parts.iter().map(|part| part.shape[1]).sum();
    for site in attentions(sites) {
        modules.shift_remove(&site.path);
    }
    let whole = HostTensor {
        dtype,
        shape: vec![rows, wide],
        bytes,
    };
    Fields::from([(WHOLE.to_owned(), whole)])
}

/// Keys and values of a projection's fields, which are taken out: computed in double precision.
///
/// # Errors
/// If a field is missing.
pub fn projected(
    target: &Target,
    fields: &mut Fields<TensorData>,
) -> Result<[TensorData; 2], AdapterError> {
    let mut dtype = None;
    let mut field = |name: &str| {
        let data = fields
            .remove(name)
            .ok_or_else(|| AdapterError::MissingTensor {
                module: target.path.clone(),
                suffix: name.to_owned(),
                found: Vec::new(),
            })?;
        dtype = Some(data.dtype());
        Ok::<Vec<f64>, AdapterError>(data.iter::<f64>().collect())
    };
    let (rows, hidden, hidden_bias) =
        (field("embedding")?, field("hidden")?, field("hidden_bias")?);
    let (output, output_bias) = (field("output")?, field("output_bias")?);
    let width = output_bias.len() / 2;
    let (inner, count) = (hidden_bias.len(), rows.len() / width.max(1));
    let mut both = [
        Vec::with_capacity(rows.len()),
        Vec::with_capacity(rows.len()),
    ];
    for row in 0..count {
        let mut middle = hidden_bias.clone();
        for (x, weights) in rows[row * width..]
            .iter()
            .zip(hidden.chunks_exact(inner))
            .take(width)
        {
            middle
                .iter_mut()
                .zip(weights)
                .for_each(|(sum, weight)| *sum += x * weight);
        }
        let mut given = output_bias.clone();
        for (x, weights) in middle.iter().zip(output.chunks_exact(2 * width)) {
            let x = x.tanh();
            given
                .iter_mut()
                .zip(weights)
                .for_each(|(sum, weight)| *sum += x * weight);
        }
        both[0].extend_from_slice(&given[..width]);
        both[1].extend_from_slice(&given[width..]);
    }
    let dtype = dtype.unwrap_or(burn::tensor::DType::F32);
    Ok(both.map(|values| TensorData::new(values, [count, width]).convert_dtype(dtype)))
}
