//! The factors of an adapter's updates.

use burn::tensor::{FloatDType, Tensor};
use peft_core::{HostTensor, HostTensorExt, Method, SiteKind};
use peft_format::LoraPair;

use super::{AdapterFormat, Conversion};
use crate::{
    RunError,
    merge::{Adapted, loses_bias, target_of},
};

/// An adapted weight: its module, and the factors of its update in `f32`.
pub struct Factors {
    /// Its path in Hugging Face's model.
    pub module: String,
    /// The rank.
    pub rank: usize,
    /// `A`, `[rank, in]`.
    pub a: Vec<f32>,
    /// `B`, `[out, rank]`.
    pub b: Vec<f32>,
    /// What the product is multiplied with.
    pub scale: f64,
    /// Lengths of the adapted weight's outputs, of DoRA.
    pub lengths: Option<Vec<f32>>,
    /// Whether the weight is a table.
    pub table: bool,
    /// Width of the input.
    pub inputs: usize,
    /// Width of the output.
    pub outputs: usize,
}

impl Factors {
    /// The factors as other programs have them. Where nothing is added, `B` says so, and not the scale:
    /// a scale of 0 has other meanings there.
    pub fn pair(&self) -> LoraPair {
        let scale = self.scale as f32;
        let nothing = scale == 0.0;
        LoraPair {
            rank: self.rank,
            a: self.a.clone(),
            b: match nothing {
                true => vec![0.0; self.b.len()],
                false => self.b.clone(),
            },
            scale: if nothing { 1.0 } else { scale },
        }
    }
}

/// Those of all adapted weights, in the order of the checkpoint's names.
pub fn all(conversion: &Conversion, method: &dyn Method) -> Result<Vec<Factors>, RunError> {
    let adapted = conversion.places.adapted.iter();
    let weights = adapted.filter(|(_, adapted)| !adapted.bias);
    weights
        .map(|(_, adapted)| {
            let factors = one(conversion, method, adapted)?;
            conversion.advance();
            Ok(factors)
        })
        .collect()
}

/// Whether weights and biases of the base can hold all of the adapter, as far as can be told.
fn is_mergeable(conversion: &Conversion, method: &dyn Method) -> bool {
    let (folder, device) = (conversion.folder, conversion.options.device);
    let widest = conversion.places.widest;
    let mut weights = conversion.places.adapted.values().filter(|one| !one.bias);
    !weights.any(|one| {
        let Some(info) = folder.checkpoint().info(&one.source) else {
            return false;
        };
        let target = target_of(&one.site, info.dtype);
        let adapter = conversion.loaded.restore(method, &target, widest, device);
        let adapter = adapter.ok().flatten();
        adapter.is_some_and(|adapter| loses_bias(folder, &one.site, &adapter, &target, device))
    })
}

fn one(
    conversion: &Conversion,
    method: &dyn Method,
    adapted: &Adapted,
) -> Result<Factors, RunError> {
    let (folder, device) = (conversion.folder, conversion.options.device);
    let name = &adapted.source;
    let missing = || {
        let problem = format!("the checkpoint has no `{name}`");
        RunError::setting(
            "`model`",
            problem,
            "give the base that the adapter was trained on",
        )
    };
    let info = folder.checkpoint().info(name).ok_or_else(missing)?;
    let target = target_of(&adapted.site, info.dtype);
    let module = &adapted.site.path;
    let widest = conversion.places.widest;
    let restored = conversion.loaded.restore(method, &target, widest, device)?;
    let adapter = restored.ok_or_else(missing)?;
    let refuse = |problem: String| {
        let fix = match is_mergeable(conversion, method) {
            false => "keep the adapter beside its base",
            true => "merge it into its base with `peft merge`",
        };
        RunError::setting("`adapter`", problem, fix)
    };
    let Some(update) = adapter.low_rank() else {
        let problem = format!("{} has no low-rank form: `{module}`", method.name());
        return Err(refuse(problem));
    };
    if update.lengths.is_some() && conversion.options.to != AdapterFormat::Mlx {
        let problem = format!(
            "{} gives the outputs of a weight new lengths, which plain LoRA does not: `{module}`",
            method.name()
        );
        return Err(refuse(problem));
    }
    let values = |tensor_name: &str, data| {
        let tensor = HostTensor::from_data(tensor_name, data)?;
        let data = tensor.to_float(tensor_name, FloatDType::F32)?;
        Ok::<_, RunError>(data.iter::<f32>().collect())
    };
    let factor = |factor: Tensor<2>, suffix: &str| {
        let factor = factor.cast(FloatDType::F32).transpose();
        values(&target.tensor_name(suffix), factor.into_data())
    };
    let lengths = update.lengths.map(|lengths| {
        let name = target.tensor_name("lora_magnitude_vector");
        values(&name, lengths.cast(FloatDType::F32).into_data())
    });
    Ok(Factors {
        module: module.clone(),
        rank: update.a.dims()[1],
        a: factor(update.a, "lora_A.weight")?,
        b: factor(update.b, "lora_B.weight")?,
        scale: update.scale,
        lengths: lengths.transpose()?,
        table: target.kind == SiteKind::Embedding,
        inputs: target.in_features,
        outputs: target.out_features,
    })
}
