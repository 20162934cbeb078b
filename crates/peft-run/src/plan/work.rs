//! What the blocks keep and compute for a token, and how many tokens there are.

use std::collections::BTreeMap;

use peft_core::{AdapterSpec, Cost, Site, SiteKind, is_saved};
use peft_models::{
    BlockWork, Description, HeadKind, LinearWork, MAPPED, ModelFolder, ModelLayout, Part, Role,
    Storage,
};

use super::{VALUE, cpu};
use crate::{RunConfig, RunError, session::Data};

/// Everything that estimates are made of.
pub struct Work {
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// The blocks in the order in which they are applied.
    pub blocks: Vec<BlockWork>,
    /// The most that a block keeps where gradients go through its input whatever it holds, as they do
    /// when blocks are recomputed one by one.
    pub kept_alone: usize,
    /// Whether blocks are computed a second time.
    pub recompute: bool,
    /// Batches of a step.
    pub parts: usize,
    /// The batch with the most tokens.
    pub largest: Batch,
    /// A batch on average.
    pub mean: Batch,
    /// Bytes of the weights as they are kept.
    pub weights: usize,
    /// The same by type.
    pub types: BTreeMap<String, usize>,
    /// The most bytes of weights and mapped pages of the checkpoint while they are loaded: a weight that is converted is there
    /// twice.
    pub loading: usize,
    /// Bytes of the tokenized rows.
    pub rows: usize,
    /// Logits that a language head makes of a token; 0 without one.
    pub logits: usize,
    /// Rows of an evaluation, and their longest.
    pub longest: usize,
    pub selection_rows: usize,
}

/// Rows that are computed together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Batch {
    pub tokens: usize,
    /// Sum of the squares of the lengths.
    pub squares: f64,
}

impl Work {
    pub fn new(
        run: &RunConfig,
        folder: &ModelFolder,
        description: &Description,
        specs: &[Option<AdapterSpec>],
        saved: &[String],
        before: usize,
        data: Option<&Data>,
    ) -> Result<Self, RunError> {
        let layout = &description.layout();
        let (mut tracked, mut kept_alone) = (false, 0);
        let mut blocks = Vec::with_capacity(description.depth);
        for depth in 0..description.depth {
            let block = description.block(depth);
            let carried = |role: Role| {
                let name = block.part(role).map(|part| part.name).unwrap_or_default();
                let mut sites = layout.sites.iter().zip(specs);
                let spec = sites.find(|(site, _)| site.path == name);
                let in_full = is_saved(&format!("{name}.weight"), saved);
                LinearWork::new(spec.and_then(|(_, spec)| spec.as_ref()), in_full)
            };
            let mut work = block.work(&carried, tracked);
            kept_alone = kept_alone.max(block.work(&carried, true).kept);
            for cost in inserted(&block.full_name(), layout, specs) {
                work.kept += cost.saved_per_row;
                kept_alone += cost.saved_per_row;
                work.backward += cost.flops_per_row as f64;
                work.output_tracked = true;
            }
            tracked = work.output_tracked;
            blocks.push(work);
        }
        // Rows of a prompt are computed with like tokens.
        let room = description.input.max_length.saturating_sub(before);
        let longest = run.max_length.min(room).saturating_add(before);
        let full = Batch {
            tokens: run.batch_size.saturating_mul(longest),
            squares: run.batch_size as f64 * (longest as f64).powi(2),
        };
        let (largest, mean) = match data {
            None => (full, full),
            Some(data) => batches(run, data, before)?,
        };
        let lengths = data.map(|data| data.select.lengths());
        let most = lengths.and_then(|l| l.into_iter().max());
        let longest = most.map_or(longest, |most| most + before);
        let device = cpu()?;
        let (mut weights, mut loading) = (0, 0);
        let mut types = BTreeMap::new();
        // As the loader reads: pages stay mapped until there are enough of them.
        let (checkpoint, mut mapped) = (folder.checkpoint(), 0);
        for part in description.parts().map(|(_, part)| part) {
            if shares_table(folder, &part) {
                continue;
            }
            let matrix = folder.storage(&part, &device);
            for (leaf, shape) in part.parameters() {
                let values: usize = shape.iter().product();
                let storage = match leaf {
                    ".bias" => Storage::Floats(folder.dtype()),
                    _ => matrix,
                };
                let kept = storage.bytes(values);
                weights += kept;
                *types.entry(storage.to_string()).or_default() += kept;
                // Blocks are there once more as bytes, and those that are made here as values, too; half precision is rounded
                // piece by piece.
                let beside = match storage {
                    Storage::Floats(_) => 0,
                    Storage::Blocks(_) => kept,
                    Storage::Made(_) => VALUE * values + kept,
                };
                let stored = folder.find(&format!("{}{leaf}", part.name));
                let stored = stored.and_then(|name| checkpoint.stored_as(&name));
                mapped += stored.map_or(0, |stored| stored.1);
                loading = loading.max(weights + beside + mapped);
                if mapped >= MAPPED {
                    mapped = 0;
                }
            }
        }
        Ok(Self {
            vocabulary: description.input.vocab_size,
            blocks,
            kept_alone,
            recompute: run.recompute,
            parts: run.grad_accumulation,
            largest,
            mean,
            weights,
            types,
            loading,
            rows: data.map_or(0, Data::resident),
            logits: match description.head {
                HeadKind::Language => description.input.vocab_size,
                HeadKind::Sequence { .. } | HeadKind::Tokens { .. } => 0,
            },
            longest,
            selection_rows: data.map_or(usize::MAX, |data| data.select.len()),
        })
    }
}

/// Whether a part is in memory as another one: a head that is parted from the table of tokens has its values.
pub fn shares_table(folder: &ModelFolder, part: &Part) -> bool {
    folder.is_parted() && part.role == Role::Head && !part.head
}

/// What the modules in the slots of a block cost.
fn inserted<'a>(
    block: &'a str,
    layout: &'a ModelLayout,
    specs: &'a [Option<AdapterSpec>],
) -> impl Iterator<Item = Cost> + 'a {
    let of_block = move |site: &Site| {
        let inside = site.path.strip_prefix(block);
        site.kind == SiteKind::Slot && inside.is_some_and(|rest| rest.starts_with('.'))
    };
    let sites = layout.sites.iter().zip(specs);
    sites.filter_map(move |(site, spec)| Some(spec.as_ref().filter(|_| of_block(site))?.cost))
}

/// The largest batch of the first epoch, and the mean of all its batches. `before` are rows that come before those of every sequence.
fn batches(run: &RunConfig, data: &Data, before: usize) -> Result<(Batch, Batch), RunError> {
    let mut lengths = data.fit.lengths();
    lengths.iter_mut().for_each(|length| *length += before);
    let plan = data.fit.plan(run.batch_size, run.seed, 0)?;
    let (mut largest, mut mean) = (Batch::default(), Batch::default());
    for rows in plan.iter_from(0) {
        let tokens = rows.iter().map(|row| lengths[*row]).sum();
        let squares = rows.iter().map(|row| (lengths[*row] as f64).powi(2)).sum();
        if tokens > largest.tokens {
            largest = Batch { tokens, squares };
        }
        mean.tokens += tokens;
        mean.squares += squares;
    }
    let count = plan.len().max(1);
    mean.tokens = mean.tokens.div_ceil(count);
    mean.squares /= count as f64;
    Ok((largest, mean))
}
