use super::{Part, Role};
use crate::work::{
    BlockWork, DecoderFlow, EncoderFlow, LinearWork, Mamba2Flow, MambaFlow, SpaceFlow,
};

/// How values flow through a block, for estimates of what it computes and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Attention and feed-forward part, each followed by residual and norm.
    Encoder(EncoderFlow),
    /// Attention and feed-forward part, each after a norm and before the residual.
    Decoder(DecoderFlow),
    /// A selective state space after a norm and before the residual.
    Mamba(MambaFlow),
    /// A state space in its dual form, after a norm and before the residual.
    Mamba2(Mamba2Flow),
    /// A selective state space and a feed-forward part, each after a norm and before the residual.
    Space(SpaceFlow),
}

/// A field of a block that takes inserted modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotPart {
    /// The field.
    pub name: String,
    /// Widths of what passes.
    pub widths: Vec<usize>,
}

impl SlotPart {
    pub(super) fn new(name: &str, widths: &[usize]) -> Self {
        Self {
            name: name.to_owned(),
            widths: widths.to_vec(),
        }
    }
}

/// The slot that puts rows before the embedded tokens of every sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSlot {
    /// Burn path.
    pub path: String,
    /// Its name, as the checkpoint would have it.
    pub name: String,
    /// Width of the embedded tokens.
    pub width: usize,
}

impl InputSlot {
    /// That of a stack, whose checkpoints' names have a prefix.
    pub(super) fn new(stack: &str, prefix: &str, width: usize) -> Self {
        Self {
            path: format!("{stack}.prompt"),
            name: format!("{prefix}prompt"),
            width,
        }
    }
}

/// A block with parameters of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockDescription {
    /// Its number among the distinct blocks.
    pub index: usize,
    /// Burn path, `{}` for the number.
    pub path: String,
    /// The checkpoint's name, `{}` for the number.
    pub name: String,
    /// Its parts, in the block's order.
    pub parts: Vec<Part>,
    /// Its fields that take inserted modules, which are its last.
    pub slots: Vec<SlotPart>,
    /// How values flow.
    pub flow: Flow,
}

impl BlockDescription {
    /// A part of the block with its whole path and name.
    pub fn whole(&self, part: &Part) -> Part {
        let of = |block: &str, part: &str| {
            format!("{}.{part}", block.replace("{}", &self.index.to_string()))
        };
        Part {
            path: of(&self.path, &part.path),
            name: of(&self.name, &part.name),
            ..part.clone()
        }
    }

    /// The part with a role, by its whole path and name.
    pub fn part(&self, role: Role) -> Option<Part> {
        let part = self.parts.iter().find(|part| part.role == role)?;
        Some(self.whole(part))
    }

    /// The checkpoint's name of the block.
    pub fn full_name(&self) -> String {
        self.name.replace("{}", &self.index.to_string())
    }

    /// What the block computes and keeps for a token. `linears` tells what its linear layers carry;
    /// `input_tracked` is whether gradients go to its input.
    pub fn work(&self, linears: &dyn Fn(Role) -> LinearWork, input_tracked: bool) -> BlockWork {
        let linears = |role: Role| {
            let part = self.parts.iter().find(|part| part.role == role);
            let widths = part.and_then(Part::widths);
            widths.map(|widths| linears(role).with_widths(widths))
        };
        match &self.flow {
            Flow::Encoder(flow) => flow.work(&linears, input_tracked),
            Flow::Decoder(flow) => flow.work(&linears, input_tracked),
            Flow::Mamba(flow) => flow.work(&linears, input_tracked),
            Flow::Mamba2(flow) => flow.work(&linears, input_tracked),
            Flow::Space(flow) => flow.work(&linears, input_tracked),
        }
    }
}
