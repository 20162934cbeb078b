//! One part of a model: what it is called on both sides, and what it holds.

/// What a part of a model does, whatever its family calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The table of the tokens.
    Embedding,
    /// The table of the positions.
    Position,
    /// The table of the segments.
    Segment,
    /// From the width of the embeddings to that of the model.
    Projection,
    /// A normalisation.
    Norm,
    /// Queries of the attention.
    Query,
    /// Keys of the attention.
    Key,
    /// Values of the attention.
    Value,
    /// Queries, keys and values in one matrix.
    QueryKeyValue,
    /// From the heads of the attention to the model's width.
    Output,
    /// First half of a feed-forward part.
    Up,
    /// The gate beside the first half.
    Gate,
    /// Gate and first half in one matrix.
    GateUp,
    /// Second half of a feed-forward part.
    Down,
    /// Input projection of a state-space block.
    SsmIn,
    /// Convolution of a state-space block.
    SsmConv,
    /// From the channels to step widths, input and output matrices of a state-space block.
    SsmX,
    /// From the low-rank step widths to those of all channels.
    SsmDt,
    /// Output projection of a state-space block.
    SsmOut,
    /// The logarithm of the decay rates of a state-space block.
    SsmA,
    /// The direct path of a state-space block.
    SsmD,
    /// The bias of the step widths of a state-space block, where no layer has it.
    SsmStep,
    /// The dense layer between a sequence's hidden row and its scores.
    Pooler,
    /// The outputs: scores of a sequence, or logits of a token.
    Head,
}

impl Role {
    /// Roles of an attention's linear layers.
    pub const ATTENTION: &[Self] = &[
        Self::Query,
        Self::Key,
        Self::Value,
        Self::QueryKeyValue,
        Self::Output,
    ];
    /// Roles of a feed-forward part's linear layers.
    pub const FEED_FORWARD: &[Self] = &[Self::Gate, Self::Up, Self::GateUp, Self::Down];
    /// Roles of a state-space block's linear layers.
    pub const STATE_SPACE: &[Self] = &[Self::SsmIn, Self::SsmX, Self::SsmDt, Self::SsmOut];
    /// Roles of the layers that read a feed-forward part's inner activation, or give what a state space's block adds.
    pub const INNER: &[Self] = &[Self::Down, Self::SsmOut];
    /// Those, and roles of keys and values, fused or not, and of what makes a state space's input and output matrices: where
    /// IA3 scales.
    pub const KEYS_VALUES_INNER: &[Self] = &[
        Self::Key,
        Self::Value,
        Self::QueryKeyValue,
        Self::SsmX,
        Self::Down,
        Self::SsmOut,
    ];
    /// Roles of queries and values, fused or not: what adapters are put on when nothing else is asked.
    pub const QUERY_VALUE: &[Self] = &[Self::Query, Self::Value, Self::QueryKeyValue];
}

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// A weight `[out, in]` in the checkpoint, kept as `[in, out]`, and maybe a bias `[out]`.
    Linear,
    /// A weight `[in, out]` in the checkpoint as in memory (GPT-2), and maybe a bias `[out]`.
    TransposedLinear,
    /// A depthwise kernel `[channels, 1, width]`, and maybe a bias `[channels]`.
    Conv1d,
    /// A table `[entries, width]`.
    Embedding,
    /// A weight `[width]`, and maybe a bias `[width]`.
    Norm,
    /// A tensor that is no module's: path and name are its own.
    Parameter,
}

/// One part: a module with a weight and maybe a bias, or a plain parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Burn path, within its block where it belongs to one.
    pub path: String,
    /// The checkpoint's name, within its block where it belongs to one.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// What it holds.
    pub kind: PartKind,
    /// Shape of the weight, or of the parameter, in the checkpoint.
    pub shape: Vec<usize>,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether it belongs to the head of a task: made where the checkpoint has none, trained in full,
    /// and never kept in half precision.
    pub head: bool,
}

impl Part {
    pub(crate) fn new(
        path: &str,
        name: &str,
        role: Role,
        kind: PartKind,
        shape: &[usize],
        bias: bool,
    ) -> Self {
        Self {
            path: path.to_owned(),
            name: name.to_owned(),
            role,
            kind,
            shape: shape.to_vec(),
            bias,
            head: false,
        }
    }

    /// A linear layer from `inputs` to `outputs` values.
    pub(crate) fn linear(
        path: &str,
        name: &str,
        role: Role,
        [inputs, outputs]: [usize; 2],
        bias: bool,
    ) -> Self {
        Self::new(path, name, role, PartKind::Linear, &[outputs, inputs], bias)
    }

    /// A linear layer whose weight the checkpoint holds as `[in, out]`.
    pub(crate) fn transposed(
        path: &str,
        name: &str,
        role: Role,
        widths: [usize; 2],
        bias: bool,
    ) -> Self {
        Self::new(path, name, role, PartKind::TransposedLinear, &widths, bias)
    }

    /// A table.
    pub(crate) fn table(path: &str, name: &str, role: Role, shape: [usize; 2]) -> Self {
        Self::new(path, name, role, PartKind::Embedding, &shape, false)
    }

    /// A norm over `width` values.
    pub(crate) fn norm(path: &str, name: &str, width: usize, bias: bool) -> Self {
        Self::new(path, name, Role::Norm, PartKind::Norm, &[width], bias)
    }

    /// This part as one of a task's head.
    pub(crate) fn of_head(self) -> Self {
        Self { head: true, ..self }
    }

    /// Inputs and outputs of a linear layer.
    pub fn widths(&self) -> Option<[usize; 2]> {
        match (self.kind, self.shape.as_slice()) {
            (PartKind::Linear, &[outputs, inputs]) => Some([inputs, outputs]),
            (PartKind::TransposedLinear, &[inputs, outputs]) => Some([inputs, outputs]),
            _ => None,
        }
    }

    /// Length of the bias.
    pub(crate) fn outputs(&self) -> usize {
        match (self.kind, self.shape.as_slice()) {
            (PartKind::TransposedLinear, &[_, outputs]) => outputs,
            (_, shape) => shape.first().copied().unwrap_or(0),
        }
    }

    /// Whether the weight is kept in the type of the frozen matrices, not of the computation.
    pub(crate) fn is_narrowed(&self) -> bool {
        use PartKind::{Embedding, Linear, TransposedLinear};
        !self.head && matches!(self.kind, Linear | TransposedLinear | Embedding)
    }

    /// Its parameters: what follows its path or name, and their shapes in the checkpoint.
    pub fn parameters(&self) -> Vec<(&'static str, Vec<usize>)> {
        if self.kind == PartKind::Parameter {
            return vec![("", self.shape.clone())];
        }
        let mut parameters = vec![(".weight", self.shape.clone())];
        if self.bias {
            parameters.push((".bias", vec![self.outputs()]));
        }
        parameters
    }
}
