use peft_core::{AdapterError, Target};

/// A method that inserts something in the state space of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateKind {
    /// The state that every sequence starts from, zero at first; in the slot `conv_start` the inputs that the convolution
    /// starts from.
    InitialState,
    /// What is added where states are read, [2503.03499](https://arxiv.org/abs/2503.03499): in the slot `state_readout` of
    /// every channel and state, `h`, in `state_output` of every channel, `y`.
    StateOffset,
    /// More states ([2411.03855](https://arxiv.org/abs/2411.03855)).
    AdditionalScan,
    /// Rows of channels before those of every sequence, of which the state space keeps its state and nothing else
    /// ([2411.03855](https://arxiv.org/abs/2411.03855)).
    Affix,
}

/// How a field starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Begin {
    Zero,
    /// Uniform between plus and minus one over the root of the inputs: Kaiming's with a = √5.
    Kaiming,
    /// Normal, of this standard deviation.
    Normal(f32),
}

/// A field of an adapter, and the tensor of a file that holds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub name: &'static str,
    pub suffix: &'static str,
    pub shape: [usize; 2],
    pub begin: Begin,
    /// Whether files hold it as PyTorch does a linear weight, `[out, in]`.
    pub transposed: bool,
}

const VALUES: Field = Field {
    name: "values",
    suffix: "",
    shape: [0, 0],
    begin: Begin::Zero,
    transposed: false,
};

impl StateKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::InitialState,
        Self::StateOffset,
        Self::AdditionalScan,
        Self::Affix,
    ];

    /// The name in settings and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InitialState => "initial_state",
            Self::StateOffset => "state_offset",
            Self::AdditionalScan => "additional_scan",
            Self::Affix => "affix",
        }
    }

    /// `peft_type` in `adapter_config.json`.
    pub const fn peft_type(self) -> &'static str {
        match self {
            Self::InitialState => "INITIAL_STATE",
            Self::StateOffset => "STATE_OFFSET",
            Self::AdditionalScan => "ADDITIONAL_SCAN",
            Self::Affix => "AFFIX",
        }
    }

    /// The slots that it is put in where none are named.
    pub(super) const fn slots(self) -> &'static [&'static str] {
        match self {
            Self::InitialState => &["state_start"],
            Self::StateOffset => &["state_readout"],
            Self::AdditionalScan => &["more_states"],
            Self::Affix => &["affix"],
        }
    }

    /// The slots that it may be put in.
    const fn known(self) -> &'static [&'static str] {
        match self {
            Self::InitialState => &["state_start", "conv_start"],
            Self::StateOffset => &["state_readout", "state_output"],
            Self::AdditionalScan => &["more_states"],
            Self::Affix => &["affix"],
        }
    }

    pub(super) const fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::InitialState => &["initial_state"],
            Self::StateOffset => &["state_offset"],
            Self::AdditionalScan => &["scan_decays", "scan_inputs.weight", "scan_outputs.weight"],
            Self::Affix => &["affix"],
        }
    }

    /// The slot of a target.
    pub(super) fn slot(self, target: &Target) -> Result<&'static str, AdapterError> {
        let last = target.path.rsplit('.').next().unwrap_or_default();
        let slots = self.known();
        let found = slots.iter().find(|slot| **slot == last);
        found.copied().ok_or_else(|| AdapterError::Config {
            method: self.name().into(),
            problem: format!("it does nothing in the slot `{}`", target.path),
            fix: format!("target {}", slots.join(" or ")),
        })
    }

    /// The fields of the adapter in a slot; `count` are more states, or rows of an affix.
    pub(super) fn fields(self, target: &Target, count: usize) -> Result<Vec<Field>, AdapterError> {
        let slot = self.slot(target)?;
        let unfit = || AdapterError::WrongKind {
            path: target.path.clone(),
            kind: target.kind,
            shape: target.shape.clone(),
        };
        let (first, second) = match *target.shape.as_slice() {
            [first, second] => (first, second),
            [first] => (1, first),
            _ => return Err(unfit()),
        };
        let suffixes = self.suffixes();
        let one = |shape, begin| Field {
            suffix: suffixes[0],
            shape,
            begin,
            ..VALUES
        };
        Ok(match (self, slot) {
            (Self::Affix, _) => vec![one([count, second], Begin::Normal(0.02))],
            (Self::AdditionalScan, _) => {
                let field = |place: usize, name, begin| Field {
                    name,
                    suffix: suffixes[place],
                    shape: [first, count],
                    begin,
                    transposed: place > 0,
                };
                vec![
                    field(0, "decays", Begin::Zero),
                    field(1, "inputs", Begin::Kaiming),
                    field(2, "outputs", Begin::Zero),
                ]
            }
            _ => vec![one([first, second], Begin::Zero)],
        })
    }
}
