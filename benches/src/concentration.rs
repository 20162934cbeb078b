//! How much of a gradient its strongest entries hold, in the weight's own coordinates and in those of the
//! gradients' moments.

use std::collections::{BTreeMap, btree_map::Entry};

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor};
use peft_run::core::{GradientMoments, WeightGradients};
use peft_sparse::{SparseGradConfig, SparseGradMethod, basis::leading};
use serde_json::{Value, json};

use crate::{
    energy::{Loaded, strongest},
    protocol::Energy,
};

/// Vectors on each side of bases of single layers: those of all would take minutes a layer, and the
/// strongest entries lie among the first.
const OWN: usize = 500;

/// `[n, count]`: eigenvectors of both moments, columns by falling eigenvalue.
struct Bases {
    input: Tensor<2>,
    output: Tensor<2>,
}

impl Bases {
    fn of(moments: &GradientMoments, most: usize) -> Result<Self> {
        let [inner, out] = moments.shape();
        let columns = |matrix: Tensor<2>, count: usize| {
            let rows = leading(&matrix, count.min(most), 0).context("moments are not finite")?;
            Ok::<_, anyhow::Error>(rows.transpose())
        };
        Ok(Self {
            input: columns(moments.input(), inner)?,
            output: columns(moments.output(), out)?,
        })
    }

    /// A gradient `[in, out]` in the bases, row by row an output's direction.
    fn core(&self, gradient: &Tensor<2>) -> Tensor<2> {
        let turned = self
            .output
            .clone()
            .transpose()
            .matmul(gradient.clone().transpose());
        turned.matmul(self.input.clone())
    }

    /// The same with the basis of the inputs turned the wrong way, as the released code does.
    fn legacy(&self, gradient: &Tensor<2>) -> Tensor<2> {
        let turned = self
            .output
            .clone()
            .transpose()
            .matmul(gradient.clone().transpose());
        turned.matmul(self.input.clone().transpose())
    }
}

fn values(matrix: Tensor<2>) -> Vec<f64> {
    matrix.into_data().iter::<f64>().collect()
}

/// Energy of the first rows of the first columns, `count` entries or just above.
fn window(core: &[f64], [rows, cols]: [usize; 2], count: usize) -> f64 {
    let side = (count as f64).sqrt().ceil() as usize;
    let height = side.clamp(count.div_ceil(cols), rows);
    let width = count.div_ceil(height).min(cols);
    let lines = core.chunks(cols).take(height);
    lines.flat_map(|row| &row[..width]).map(|v| v * v).sum()
}

pub fn concentration(command: &Energy, device: &Device) -> Result<Value> {
    let loaded = Loaded::open(command, device)?;
    let method = |shared_basis| {
        SparseGradMethod::new(SparseGradConfig {
            shared_basis,
            ..SparseGradConfig::default()
        })
    };
    let methods = [method(true)?, method(false)?];
    let mut moments = [WeightGradients::new(), WeightGradients::new()];
    loaded.gradients(0, command.probe, |one| {
        for (all, method) in moments.iter_mut().zip(&methods) {
            all.add(one.clone(), method);
        }
    })?;
    let [shared, own] = moments.map(|all| all.moments);
    // Layers of a type share one object: its eigenvectors are found once.
    let mut by_object: BTreeMap<usize, Bases> = BTreeMap::new();
    let object =
        |moments: &std::sync::Arc<GradientMoments>| std::sync::Arc::as_ptr(moments) as usize;
    for moments in shared.values() {
        if let Entry::Vacant(free) = by_object.entry(object(moments)) {
            free.insert(Bases::of(moments, usize::MAX)?);
        }
    }
    let own: BTreeMap<String, Bases> = own
        .into_iter()
        .map(|(module, moments)| Ok((module, Bases::of(&moments, OWN)?)))
        .collect::<Result<_>>()?;

    let mut found: BTreeMap<(&str, usize), Vec<f64>> = BTreeMap::new();
    loaded.gradients(command.probe, command.held_out, |one| {
        for (module, gradient) in one {
            let [inner, out] = gradient.dims();
            let counts: Vec<usize> = (command.shares.iter())
                .map(|share| ((share * (inner * out) as f64).round() as usize).max(1))
                .collect();
            let plain = values(gradient.clone());
            let energy: f64 = plain.iter().map(|v| v * v).sum();
            let mut add = |basis: &'static str, shares: Vec<f64>| {
                for (at, share) in shares.into_iter().enumerate() {
                    found.entry((basis, at)).or_default().push(share);
                }
            };
            add("original", strongest(&plain, &counts));
            let bases = &by_object[&object(&shared[&module])];
            let core = values(bases.core(&gradient));
            add("hosvd", strongest(&core, &counts));
            let windows = counts
                .iter()
                .map(|&count| window(&core, [out, inner], count) / energy);
            add("hosvd, leading window", windows.collect());
            add(
                "released code",
                strongest(&values(bases.legacy(&gradient)), &counts),
            );
            let core = own[&module].core(&gradient);
            let core = values(core);
            // What lies outside of these bases counts as energy, too.
            let inside = core.iter().map(|v| v * v).sum::<f64>() / energy;
            let shares = strongest(&core, &counts)
                .into_iter()
                .map(|share| share * inside);
            add("hosvd of each layer", shares.collect());
        }
    })?;
    ensure!(!found.is_empty(), "no gradient was seen");
    let rows = found.into_iter().map(|((basis, at), shares)| {
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
        let most = shares.iter().copied().fold(0.0, f64::max);
        json!({
            "basis": basis, "entries": command.shares[at], "mean": mean, "least": least, "most": most
        })
    });
    let rows: Vec<Value> = rows.collect();
    Ok(json!({ "ok": true, "modules": shared.len(), "shares": rows }))
}
