//! An adapter held against a base.

mod cover;
mod report;

use std::path::Path;

use burn::tensor::Device;
use peft_core::{LoadedAdapter, Method, Site, SiteKind, Target};
use peft_models::{HeadState, ModelFolder};

pub use self::report::{BaseVerdict, ModuleCheck, Problem, VerifyReport};
use crate::{
    BaseFile, RunError, TaskFile,
    merge::{Adapted, LOSS_LIMIT, Rounding, change, head_of},
    objective::outputs,
    open::{fit, read_with_method},
};

/// Check an adapter against a base: that every tensor has its place and every target its tensors, that
/// shapes fit and values are finite, what each weight is changed by, and what merging would lose. The
/// weights are looked at one at a time.
///
/// # Errors
/// If the base or the adapter cannot be read at all. What is wrong with an adapter that can be read
/// is in the report.
pub fn verify(model: &Path, adapter: &Path, device: &Device) -> Result<VerifyReport, RunError> {
    verify_watched(model, adapter, device, &mut |_, _| ())
}

/// As [`verify`]; `done` is told after every weight how many of how many have been looked at.
///
/// # Errors
/// As [`verify`].
pub fn verify_watched(
    model: &Path,
    adapter: &Path,
    device: &Device,
    done: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, RunError> {
    let mut folder = ModelFolder::open(model)?;
    let (method, mut loaded) = read_with_method(adapter)?;
    fit(&mut folder, &mut loaded)?;
    let task = TaskFile::read(adapter)?;
    let found = BaseFile::of(&folder)?;
    let recorded = BaseFile::read(adapter)?;
    let mut report = VerifyReport::new(model, adapter, method.name());
    report.base = BaseVerdict::new(recorded, found);
    if report.base.same == Some(false) {
        report.problem(
            "base",
            "other base",
            format!(
                "the adapter was trained on other weights, those of `{}`",
                report.base.trained_on()
            ),
        );
    }
    loaded.spread(method.as_ref(), &folder.description().layout().sites)?;
    let head = head_of(&folder, Some(&loaded), task.as_ref());
    let (layout, outputs) = (folder.layout(head)?, outputs(head));
    folder
        .check(&layout)
        .map_err(|error| match folder.head_for(head) {
            // The adapter's labels, not the folder, disagree with the head.
            HeadState::Present { outputs: own, .. } if own != outputs => RunError::setting(
                "`model`",
                format!("its head has {own} outputs, the adapter was trained for {outputs}"),
                "give the base that the adapter was trained on",
            ),
            _ => error.into(),
        })?;

    let good = cover::modules(&folder, &layout, method.as_ref(), &loaded, &mut report)?;
    cover::saved(&folder, &layout, &loaded, &mut report);
    let mut total = Rounding::default();
    let all = good.len() as u64;
    for (target, count) in good.into_iter().zip(1..) {
        if let Some(sums) = weigh(
            &folder,
            &target,
            &loaded,
            method.as_ref(),
            loaded.widest(&layout.sites),
            device,
            &mut report,
        )? {
            total.add(&sums);
        }
        done(count, all);
    }
    report.change = total.change();
    report.relative_change = total.relative_change();
    report.lost_share = total.lost_share();
    let most = report.modules.iter().map(|m| m.lost_share);
    let most = most.fold(report.lost_share, f64::max);
    if most > LOSS_LIMIT && report.mergeable {
        report.notes.push(format!(
            "merging would lose up to {:.1} % of a change in rounding: keep the adapter beside its base, \
             or merge with `dtype` f32",
            100.0 * most
        ));
    }
    Ok(report)
}

/// What the adapter does to one weight or other parameter; nothing is known of modules in slots.
fn weigh(
    folder: &ModelFolder,
    target: &Target,
    loaded: &LoadedAdapter,
    method: &dyn Method,
    widest: [usize; 2],
    device: &Device,
    report: &mut VerifyReport,
) -> Result<Option<Rounding>, RunError> {
    let module = &target.path;
    let parameter = match target.kind {
        SiteKind::Slot => {
            report.mergeable = false;
            return Ok(None);
        }
        kind if kind.is_module() => format!("{module}.weight"),
        _ => module.clone(),
    };
    let Some(name) = folder.find(&parameter) else {
        return Ok(None);
    };
    let adapted = Adapted {
        site: Site {
            path: module.clone(),
            kind: target.kind,
            shape: target.shape.clone(),
        },
        bias: false,
        source: name.clone(),
    };
    let change = match change(folder, &adapted, loaded, method, widest, device) {
        Ok(Some(change)) => change,
        Ok(None) => return Ok(None),
        Err(RunError::BrokenBase { count, .. }) => {
            let problem = format!("{count} values of the base's own weight are NaN or infinite");
            report.problem(module, "not finite", problem);
            return Ok(None);
        }
        Err(other) => return Err(other),
    };
    report.mergeable &= !change.loses_bias;
    let (_, sums) = change.rounded(change.stored);
    if sums.not_finite > 0 {
        let count = sums.not_finite;
        let problem = format!("{count} values of the adapted weight are NaN or infinite");
        report.problem(module, "not finite", problem);
        return Ok(None);
    }
    let zero = sums.change() == 0.0;
    // AdaLoRA may have taken all rank from a weight: then nothing is there to do anything.
    if zero && method.describe(target)?.cost.parameters > 0 {
        let problem = "the adapter changes nothing here: it was never trained, or training died";
        report.problem(module, "zero", problem.to_owned());
    }
    report.modules.push(ModuleCheck {
        module: module.clone(),
        shape: [target.out_features, target.in_features],
        dtype: change.stored.to_string(),
        change: sums.change(),
        relative_change: sums.relative_change(),
        largest_change: sums.largest_change,
        zero,
        lost_share: sums.lost_share(),
    });
    Ok(Some(sums))
}

/// A site as a target of the adapter's own type.
fn target_of(site: &Site) -> Target {
    site.target(site.path.clone())
}
