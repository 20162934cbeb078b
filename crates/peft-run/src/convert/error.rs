//! How far what was written is from what was meant: by reading it back.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use peft_core::{LoadedAdapter, Method, Target};

use super::Conversion;
use crate::{RunError, merge::target_of, open::read_with_method};

/// The weight that an adapter makes of one of zeros.
fn of_zeros(
    conversion: &Conversion,
    loaded: &LoadedAdapter,
    method: &dyn Method,
    target: &Target,
) -> Result<Option<Tensor<2>>, RunError> {
    let device = conversion.options.device;
    let restored = loaded.restore(method, target, conversion.places.widest, device)?;
    let shape = [target.in_features, target.out_features];
    let zeros = || Tensor::<2>::zeros(shape, (device, target.dtype.into()));
    Ok(restored.map(|adapter| adapter.effective(zeros())))
}

/// The errors of updates that `written` gives by module, `[in, out]`, against the adapter's own, each
/// relative to the largest element of its update.
pub fn measured(
    conversion: &Conversion,
    written: impl Fn(&Target) -> Result<Option<Tensor<2>>, RunError>,
) -> Result<BTreeMap<String, f64>, RunError> {
    let (method, _) = read_with_method(conversion.options.adapter)?;
    let largest = |tensor: Tensor<2>| tensor.abs().max().into_scalar::<f64>();
    let mut errors = BTreeMap::new();
    for adapted in conversion.places.adapted.values() {
        let info = conversion.folder.checkpoint().info(&adapted.source);
        let (Some(info), false) = (info, adapted.bias) else {
            continue;
        };
        let target = target_of(&adapted.site, info.dtype);
        conversion.advance();
        let own = of_zeros(conversion, conversion.loaded, method.as_ref(), &target)?;
        let (Some(own), Some(back)) = (own, written(&target)?) else {
            // It was not written, which no format's writer does without an error of its own.
            errors.insert(target.path, f64::INFINITY);
            continue;
        };
        let error = largest(back - own.clone()) / largest(own).max(f64::MIN_POSITIVE);
        errors.insert(target.path, error);
    }
    Ok(errors)
}

/// The same of an adapter folder that was written.
pub fn of_folder(
    conversion: &Conversion,
    folder: &std::path::Path,
) -> Result<BTreeMap<String, f64>, RunError> {
    let (method, loaded) = read_with_method(folder)?;
    measured(conversion, |target| {
        of_zeros(conversion, &loaded, method.as_ref(), target)
    })
}
