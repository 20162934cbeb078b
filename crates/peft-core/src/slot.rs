//! Places of a block where modules may be inserted.

use std::{any::Any, cell::RefCell, fmt, marker::PhantomData};

use burn::{
    Tensor,
    module::{
        Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
        Reparameterization,
    },
    tensor::Device,
};

use peft_kernels::AttentionPrefix;

use crate::{AdapterChoice, AdapterContext, DynAdapter, RowGroups};

/// What traversals call the container of the module in a slot.
pub(crate) const OCCUPIED: &str = "Slot";
/// What they call a slot without one.
pub(crate) const EMPTY: &str = "EmptySlot";

thread_local! {
    /// The widths of the slots that a traversal of this thread has met, if it asked for them.
    static MET: RefCell<Option<Vec<Vec<usize>>>> = const { RefCell::new(None) };
    /// What the slot that a mapping of this thread has just entered is to hold.
    static NEXT: RefCell<Option<DynAdapter>> = const { RefCell::new(None) };
}

/// The widths of the slots that a traversal meets, in its order. Burn's visitors are shown parameters
/// only, and an empty slot has none: it must step forward by itself.
pub(crate) fn met(traverse: impl FnOnce()) -> Vec<Vec<usize>> {
    let outer = MET.replace(Some(Vec::new()));
    traverse();
    MET.replace(outer).unwrap_or_default()
}

/// Let the slot that a mapping has just entered hold this adapter from now on.
pub(crate) fn hold(adapter: DynAdapter) {
    NEXT.set(Some(adapter));
}

/// What passes through a slot of one type, and what comes out of it.
pub trait Passing: Sized + Any + Send {
    /// What comes out.
    type Out: Any + Send;

    /// What messages call it.
    const NAME: &'static str;

    /// Whether rows of one batch may pass through different adapters.
    const BY_ROWS: bool;

    /// What comes out of a slot that is empty, or whose adapters nobody chose.
    fn unchanged(self) -> Self::Out;

    /// Let every group of rows pass through what it chooses. Called where [`BY_ROWS`](Self::BY_ROWS) holds
    /// only.
    fn by_rows(
        self,
        rows: &RowGroups,
        run: &mut dyn FnMut(Self, &AdapterChoice) -> Self::Out,
    ) -> Self::Out;
}

/// Hidden rows of a block, `[rows, width]`, and what a module between its parts may read beside them.
#[derive(Debug, Clone)]
pub struct Hidden {
    /// The rows: what a part of the block gave, `[rows, width]`.
    pub x: Tensor<2>,
    /// What will be added to them, or what the part was given: the residual stream, `[rows, width]`.
    pub residual: Tensor<2>,
    /// The rows as the block's own norm of their sum with the residual has them, where such a norm follows
    /// and the adapter [reads it](crate::SlotAdapter::reads_norm); else `x`.
    pub normed: Tensor<2>,
}

impl Passing for Hidden {
    type Out = Tensor<2>;
    const NAME: &'static str = "hidden rows";
    const BY_ROWS: bool = true;

    fn unchanged(self) -> Tensor<2> {
        self.x
    }

    fn by_rows(
        self,
        rows: &RowGroups,
        run: &mut dyn FnMut(Self, &AdapterChoice) -> Tensor<2>,
    ) -> Tensor<2> {
        // Groups are gathered from one matrix.
        let width = self.x.dims()[1];
        let all = Tensor::cat(vec![self.x, self.residual, self.normed], 1);
        rows.through(all, |all, choice| {
            let part = |place: usize| all.clone().narrow(1, place * width, width);
            let hidden = Self {
                x: part(0),
                residual: part(1),
                normed: part(2),
            };
            run(hidden, choice)
        })
    }
}

/// Keys and values of an attention, `[rows, kv width]` each: a module here may put rows before those of every
/// sequence (prefix tuning).
#[derive(Debug, Clone)]
pub struct KeyValues {
    /// Keys, `[rows, kv width]`.
    pub keys: Tensor<2>,
    /// Values, `[rows, kv width]`.
    pub values: Tensor<2>,
    /// Keys and values that rows see before their own.
    pub prefix: Prefixes,
}

/// Keys and values that come before those of sequences, `[prefix, kv width]` each.
#[expect(clippy::large_enum_variant, reason = "one is made a pass of a block")]
#[derive(Debug, Clone, Default)]
pub enum Prefixes {
    /// None.
    #[default]
    None,
    /// The same for all sequences.
    All(AttentionPrefix),
    /// Those of some groups of sequences.
    Apart {
        /// Each group's, if it has any.
        groups: Vec<Option<AttentionPrefix>>,
        /// The group of each sequence.
        of: Vec<usize>,
    },
}

impl From<Option<AttentionPrefix>> for Prefixes {
    fn from(prefix: Option<AttentionPrefix>) -> Self {
        prefix.map_or(Self::None, Self::All)
    }
}

impl Passing for KeyValues {
    type Out = Self;
    const NAME: &'static str = "keys and values";
    const BY_ROWS: bool = true;

    fn unchanged(self) -> Self {
        self
    }

    fn by_rows(self, rows: &RowGroups, run: &mut dyn FnMut(Self, &AdapterChoice) -> Self) -> Self {
        let width = self.keys.dims()[1];
        let mut groups = Vec::new();
        // Groups are gathered from one matrix.
        let all = Tensor::cat(vec![self.keys, self.values], 1);
        let all = rows.through(all, |all, choice| {
            let part = |place: usize| all.clone().narrow(1, place * width, width);
            let seen = Self {
                keys: part(0),
                values: part(1),
                prefix: Prefixes::None,
            };
            let seen = run(seen, choice);
            groups.push(match seen.prefix {
                Prefixes::All(prefix) => Some(prefix),
                Prefixes::None | Prefixes::Apart { .. } => None,
            });
            Tensor::cat(vec![seen.keys, seen.values], 1)
        });
        Self {
            keys: all.clone().narrow(1, 0, width),
            values: all.narrow(1, width, width),
            prefix: match groups.iter().all(Option::is_none) {
                true => Prefixes::None,
                false => Prefixes::Apart {
                    groups,
                    of: rows.groups_of().to_vec(),
                },
            },
        }
    }
}

/// Rows that come before the embedded tokens of every sequence (prompt tuning).
#[derive(Debug, Clone, Default)]
pub struct InputRows {
    /// `[rows, width]`, in the order of the sequence; `None` for none.
    pub rows: Option<Tensor<2>>,
}

impl Passing for InputRows {
    type Out = Option<Tensor<2>>;
    const NAME: &'static str = "rows of the input";
    // Every sequence gets those of its choice, which the model asks for choice by choice.
    const BY_ROWS: bool = true;

    fn unchanged(self) -> Option<Tensor<2>> {
        self.rows
    }

    fn by_rows(
        self,
        _: &RowGroups,
        run: &mut dyn FnMut(Self, &AdapterChoice) -> Option<Tensor<2>>,
    ) -> Option<Tensor<2>> {
        run(self, &AdapterChoice::base())
    }
}

/// What every sequence starts from in a recurrence or a convolution: `None` is zeros, or nothing where it is rows that come
/// before a sequence's own.
#[derive(Debug, Clone)]
pub struct InitialState {
    /// States `[channels, states]` of a recurrence, or rows `[count, channels]` in the order of time.
    pub state: Option<Tensor<2>>,
}

impl Passing for InitialState {
    type Out = Option<Tensor<2>>;
    const NAME: &'static str = "initial state";
    const BY_ROWS: bool = false;

    fn unchanged(self) -> Option<Tensor<2>> {
        self.state
    }

    fn by_rows(
        self,
        _: &RowGroups,
        run: &mut dyn FnMut(Self, &AdapterChoice) -> Option<Tensor<2>>,
    ) -> Option<Tensor<2>> {
        run(self, &AdapterChoice::base())
    }
}

/// What a state space gives before its gate, and what it read its states by, row by row: a module here may read states of its
/// own in the same way.
#[derive(Debug, Clone)]
pub struct Readout {
    /// What it gives, `[rows, channels]`.
    pub y: Tensor<2>,
    /// The output matrices `C`, `[rows, groups · states]`: equal shares of the channels, in their order, read one group each.
    pub c: Tensor<2>,
}

impl Passing for Readout {
    type Out = Tensor<2>;
    const NAME: &'static str = "what a state space gives";
    const BY_ROWS: bool = true;

    fn unchanged(self) -> Tensor<2> {
        self.y
    }

    fn by_rows(
        self,
        rows: &RowGroups,
        run: &mut dyn FnMut(Self, &AdapterChoice) -> Tensor<2>,
    ) -> Tensor<2> {
        // Groups are gathered from one matrix.
        let (channels, states) = (self.y.dims()[1], self.c.dims()[1]);
        let all = Tensor::cat(vec![self.y, self.c], 1);
        rows.through(all, |all, choice| {
            let readout = Self {
                y: all.clone().narrow(1, 0, channels),
                c: all.narrow(1, channels, states),
            };
            run(readout, choice)
        })
    }
}

/// The states of a selective state space, that a module may put more beside.
#[derive(Debug, Clone)]
pub struct ScannedStates {
    /// Rows that input and output matrices are made of, `[rows, channels]`.
    pub x: Tensor<2>,
    /// Logarithms of the decay rates, `[channels, states]`.
    pub a_log: Tensor<2>,
    /// Input matrices `B`, `[rows, states]`.
    pub b: Tensor<2>,
    /// Output matrices `C`, `[rows, states]`.
    pub c: Tensor<2>,
}

impl Passing for ScannedStates {
    type Out = Self;
    const NAME: &'static str = "the states of a scan";
    // A scan has as many states for every row.
    const BY_ROWS: bool = false;

    fn unchanged(self) -> Self {
        self
    }

    fn by_rows(self, _: &RowGroups, run: &mut dyn FnMut(Self, &AdapterChoice) -> Self) -> Self {
        run(self, &AdapterChoice::base())
    }
}

/// A named place of a block where a module may be inserted; the name is that of the block's field.
///
/// Empty, it costs nothing: what passes comes out as it is. What it holds is put there by
/// [`attach`](crate::attach()) and [`load_adapter`](crate::load_adapter), and its parameters are found under
/// `<slot path>.adapter.<field>`.
#[derive(Clone)]
pub struct Slot<P> {
    widths: Vec<usize>,
    adapter: Option<DynAdapter>,
    passing: PhantomData<fn(P)>,
}

impl<P: Passing> Slot<P> {
    /// An empty slot for what has these widths: of [`Hidden`] rows and [`InputRows`] one, of [`KeyValues`] that of a row of
    /// keys, of an [`InitialState`] its shape (of rows that come first, their width), of a [`Readout`] and of
    /// [`ScannedStates`] channels and states.
    pub fn new(widths: impl Into<Vec<usize>>) -> Self {
        Self {
            widths: widths.into(),
            adapter: None,
            passing: PhantomData,
        }
    }

    /// Whether nothing was inserted.
    pub fn is_empty(&self) -> bool {
        self.adapter.is_none()
    }

    /// Rows that what is chosen puts before those of every sequence; where rows choose by themselves, what is active.
    pub fn rows_before(&self, context: &AdapterContext) -> usize {
        let adapter = self.adapter.as_ref();
        adapter.map_or(0, |adapter| adapter.rows_before(context))
    }

    /// Positions that what is chosen takes before a sequence's own, as [`rows_before`](Self::rows_before) has it.
    pub fn positions_before(&self, context: &AdapterContext) -> usize {
        let adapter = self.adapter.as_ref();
        adapter.map_or(0, |adapter| adapter.positions_before(context))
    }

    /// What comes out.
    pub fn pass(&self, passing: P, context: &AdapterContext) -> P::Out {
        match &self.adapter {
            None => passing.unchanged(),
            Some(adapter) => adapter.pass(passing, context),
        }
    }
}

impl Slot<Hidden> {
    /// The rows `x` of a part of the block, changed by what the slot holds, `[rows, width]`.
    ///
    /// `residual` is what will be added to them, or what the part was given; `norm` the block's own norm of
    /// their sum, taken only if an adapter reads it.
    pub fn through(
        &self,
        x: Tensor<2>,
        residual: &Tensor<2>,
        norm: impl FnOnce(Tensor<2>, Tensor<2>) -> Tensor<2>,
        context: &AdapterContext,
    ) -> Tensor<2> {
        let Some(adapter) = &self.adapter else {
            return x;
        };
        let normed = match adapter.reads_norm() {
            true => norm(x.clone(), residual.clone()),
            false => x.clone(),
        };
        let residual = residual.clone();
        let hidden = Hidden {
            x,
            residual,
            normed,
        };
        adapter.pass(hidden, context)
    }
}

impl<P> fmt::Debug for Slot<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.adapter).finish()
    }
}

impl<P> ModuleDisplayDefault for Slot<P> {
    fn content(&self, content: Content) -> Option<Content> {
        Some(content)
    }
}

impl<P> ModuleDisplay for Slot<P> {}

impl<P: 'static> Slot<P> {
    fn with(self, change: impl FnOnce(DynAdapter) -> DynAdapter) -> Self {
        let adapter = self.adapter.map(change);
        Self { adapter, ..self }
    }
}

impl<P: Clone + 'static> Module for Slot<P> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        MET.with_borrow_mut(|met| {
            if let Some(met) = met {
                met.push(self.widths.clone());
            }
        });
        let mark = if self.adapter.is_some() {
            OCCUPIED
        } else {
            EMPTY
        };
        visitor.enter_module(DynAdapter::NAME, mark);
        if let Some(adapter) = &self.adapter {
            adapter.visit(visitor);
        }
        visitor.exit_module(DynAdapter::NAME, mark);
    }

    fn map<M: ModuleMapper>(mut self, mapper: &mut M) -> Self {
        let mark = if self.adapter.is_some() {
            OCCUPIED
        } else {
            EMPTY
        };
        mapper.enter_module(DynAdapter::NAME, mark);
        self = match NEXT.take() {
            Some(adapter) => Self {
                adapter: Some(adapter),
                ..self
            },
            None => self.with(|adapter| adapter.map(mapper)),
        };
        mapper.exit_module(DynAdapter::NAME, mark);
        self
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        match &self.adapter {
            Some(adapter) => adapter.collect_devices(devices),
            None => devices,
        }
    }

    fn fork(self, device: &Device) -> Self {
        self.with(|adapter| adapter.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.with(|adapter| adapter.to_device(device))
    }

    fn train(self) -> Self {
        self.with(Module::train)
    }

    fn valid(&self) -> Self {
        self.clone().with(|adapter| adapter.valid())
    }

    // An inserted module is no weight's and stays where it is.
    fn materialize(self) -> Self {
        self
    }
}
