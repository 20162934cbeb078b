//! What the file of an adapter would hold, site by site.

use peft_core::{Fields, widest};
use peft_format::TensorInfo;
use peft_models::{HeadKind, ModelFolder};

use super::targets;
use crate::{
    RunConfig, RunError,
    session::{Choice, resolve},
};

/// What the file of an adapter would hold beside the head, by the sites that it adapts.
///
/// The file of an adapter of some of the sites holds their values and the shared ones, so that what an adapter of
/// some layers takes follows from that of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    /// The adapted sites in the model's order.
    pub sites: Vec<SiteValues>,
    /// Values that the file holds once, however many sites there are.
    pub shared: usize,
}

/// What the file of an adapter would hold for one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteValues {
    /// The site by the checkpoint's name.
    pub path: String,
    /// The number of its layer, counted from 0; none outside of the layers.
    pub layer: Option<usize>,
    /// How many values.
    pub values: usize,
}

impl Footprint {
    /// All values.
    pub fn values(&self) -> usize {
        self.shared + self.sites.iter().map(|site| site.values).sum::<usize>()
    }

    /// The values of an adapter of these layers only; none where no site is in them.
    pub fn of_layers(&self, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let wanted = |site: &&SiteValues| site.layer.is_some_and(&wanted);
        let mut sites = self.sites.iter().filter(wanted).peekable();
        sites.peek()?;
        Some(self.shared + sites.map(|site| site.values).sum::<usize>())
    }

    /// That of the adapter of a run, from the headers of the base's files.
    pub(crate) fn of(
        config: &RunConfig,
        folder: &ModelFolder,
        head: HeadKind,
        created: &[String],
    ) -> Result<Self, RunError> {
        let entry = peft_methods::by_name(&config.method)?;
        let config = resolve(config, folder, entry);
        let choice = Choice::of(&config, folder, head, created)?;
        if choice.method.counts_need_gradients() {
            return Err(RunError::setting(
                "`method`",
                format!(
                    "how many values {} trains is known only after a look at the data",
                    choice.method.name()
                ),
                "choose another method",
            ));
        }
        let layout = folder.layout(head)?;
        let (matched, _) = targets(folder, &layout, &choice)?;
        let adapted: Vec<_> = (layout.sites.iter())
            .filter(|site| matched.contains(&site.path))
            .collect();
        let values = |tensors: &Fields<TensorInfo>| -> usize {
            let sizes = tensors
                .values()
                .map(|info| info.shape.iter().product::<usize>());
            sizes.sum()
        };
        let mut sites = Vec::with_capacity(adapted.len());
        for site in &adapted {
            let spec = choice.method.describe(&site.target(site.path.clone()))?;
            sites.push(SiteValues {
                path: site.path.clone(),
                layer: site.layer(),
                values: values(&spec.tensors),
            });
        }
        let shared = choice.method.describe_shared(widest(adapted));
        Ok(Self {
            sites,
            shared: values(&shared),
        })
    }
}
