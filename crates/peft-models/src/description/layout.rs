use peft_core::{Site, SiteKind};

use super::{Description, Part, PartKind};

/// What a model is made of, without loading it: names are the checkpoint's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLayout {
    /// Prefix that checkpoints of the bare model leave out.
    pub prefix: String,
    /// The linear layers, in the model's order.
    pub linears: Vec<Site>,
    /// Everything that can be adapted, biases, plain parameters and slots included, in the model's order;
    /// shapes are those in memory.
    pub sites: Vec<Site>,
    /// All parameters and their shapes in the checkpoint (`[out, in]` for linear layers).
    pub parameters: Vec<(String, Vec<usize>)>,
    /// Linear layers that are made where the checkpoint has none.
    pub heads: Vec<String>,
}

impl Description {
    /// The layout of the model.
    pub fn layout(&self) -> ModelLayout {
        let mut layout = ModelLayout {
            prefix: self.prefix.clone(),
            linears: Vec::new(),
            sites: Vec::new(),
            parameters: Vec::new(),
            heads: self.heads().map(str::to_owned).collect(),
        };
        for entry in self.entries() {
            let part = match entry {
                Entry::Part(part) => part,
                Entry::Slot(path, widths) => {
                    layout.sites.push(Site {
                        path,
                        kind: SiteKind::Slot,
                        shape: widths,
                    });
                    continue;
                }
            };
            layout.sites.extend(sites(&part));
            if let Some([inputs, outputs]) = part.widths() {
                let kind = site_kind(part.kind);
                layout.linears.push(Site {
                    kind,
                    ..Site::linear(part.name.clone(), inputs, outputs)
                });
            }
            for (leaf, shape) in part.parameters() {
                let name = format!("{}{leaf}", part.name);
                layout.parameters.push((name, shape));
            }
        }
        layout
    }

    /// Parts and slots by the checkpoint's names, in the model's order: slots are a block's last fields, and the
    /// input's comes behind the blocks.
    fn entries(&self) -> Vec<Entry> {
        let part = |part: &Part| Entry::Part(part.clone());
        let mut entries: Vec<Entry> = self.before.iter().map(part).collect();
        for block in &self.blocks {
            let parts = block.parts.iter().map(|part| block.whole(part));
            entries.extend(parts.map(Entry::Part));
            let name = block.full_name();
            let slots = block.slots.iter();
            entries.extend(
                slots.map(|slot| Entry::Slot(format!("{name}.{}", slot.name), slot.widths.clone())),
            );
        }
        entries.push(Entry::Slot(
            self.prompt.name.clone(),
            vec![self.prompt.width],
        ));
        entries.extend(self.after.iter().map(part));
        entries
    }
}

enum Entry {
    Part(Part),
    Slot(String, Vec<usize>),
}

/// The kind of site that a part's weight is.
fn site_kind(kind: PartKind) -> SiteKind {
    match kind {
        PartKind::Linear => SiteKind::Linear,
        PartKind::TransposedLinear => SiteKind::TransposedLinear,
        PartKind::Conv1d => SiteKind::Conv1d,
        PartKind::Embedding => SiteKind::Embedding,
        PartKind::Norm | PartKind::Parameter => SiteKind::Parameter,
    }
}

/// The sites of a part: its weight, which has the module's name, and its bias, which has its own.
fn sites(part: &Part) -> Vec<Site> {
    let kind = site_kind(part.kind);
    let mut sites = Vec::new();
    for (leaf, shape) in part.parameters() {
        let own = leaf == ".bias" || !kind.is_module();
        let path = match own {
            true => format!("{}{leaf}", part.name),
            false => part.name.clone(),
        };
        let kind = if own { SiteKind::Parameter } else { kind };
        let shape = match part.widths().filter(|_| !own) {
            Some([inputs, outputs]) => vec![inputs, outputs],
            None => shape,
        };
        sites.push(Site { path, kind, shape });
    }
    sites
}

impl ModelLayout {
    /// Number of values.
    pub fn values(&self) -> usize {
        let sizes = self.parameters.iter();
        sizes
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// Paths of the linear layers.
    pub fn linear_names(&self) -> Vec<String> {
        self.linears.iter().map(|site| site.path.clone()).collect()
    }

    /// Names of all parameters.
    pub fn parameter_names(&self) -> Vec<String> {
        let names = self.parameters.iter();
        names.map(|(name, _)| name.clone()).collect()
    }
}
