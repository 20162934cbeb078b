//! What a pickle may be made of.

use safetensors::Dtype;

use crate::error::shorten;

/// A value: small and copied, with anything that holds others in the [`Heap`].
///
/// Pickles share and nest values without limit. Numbers into one list instead of pointers mean that
/// neither dropping nor printing ever recurses, and that a cycle leaks nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// Learning rates and the like; no tensor needs one.
    Float,
    Text(&'a str),
    Global(Global),
    Object(u32),
}

/// The importable things that are known; there is no way to name another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

impl Global {
    /// The global of a module and a name, if it is one of those that a state dict needs.
    ///
    /// `TypedStorage` and `_LegacyStorage` themselves have no element type, and PyTorch fails on
    /// them as well.
    pub fn find(module: &str, name: &str) -> Option<Self> {
        let dtype = match (module, name) {
            ("collections", "OrderedDict") => return Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => return Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => return Some(Self::RebuildParameter),
            ("torch" | "torch.storage", "UntypedStorage") => Dtype::U8,
            ("torch", "DoubleStorage") => Dtype::F64,
            ("torch", "FloatStorage") => Dtype::F32,
            ("torch", "HalfStorage") => Dtype::F16,
            ("torch", "BFloat16Storage") => Dtype::BF16,
            ("torch", "LongStorage") => Dtype::I64,
            ("torch", "IntStorage") => Dtype::I32,
            ("torch", "ShortStorage") => Dtype::I16,
            ("torch", "CharStorage") => Dtype::I8,
            ("torch", "ByteStorage") => Dtype::U8,
            ("torch", "BoolStorage") => Dtype::BOOL,
            _ => return None,
        };
        Some(Self::Storage(dtype))
    }
}

/// A value that holds others.
#[derive(Debug)]
pub(crate) enum Object<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    /// Pairs in the order of their setting; whoever reads it decides about repeated keys.
    Dict {
        pairs: Vec<(Value<'a>, Value<'a>)>,
        /// Made by `OrderedDict()`, which may carry attributes.
        ordered: bool,
    },
    Storage(Storage<'a>),
    Tensor(Tensor<'a>),
}

/// A storage as a persistent id describes it, or a part of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storage<'a> {
    pub key: &'a str,
    pub dtype: Dtype,
    /// Elements of the whole storage in the file.
    pub stored: usize,
    /// Where this part starts in it, in elements: zero but for views of PyTorch before 0.4.
    pub start: usize,
    /// Elements of this part.
    pub length: usize,
}

/// A tensor over a storage, checked to lie within it.
#[derive(Debug, Clone)]
pub(crate) struct Tensor<'a> {
    pub storage: Storage<'a>,
    /// First element, counted from the start of the whole storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// Steps between neighbours along each dimension, in elements.
    pub strides: Vec<usize>,
}

/// All objects of a file's pickles.
#[derive(Debug, Default)]
pub(crate) struct Heap<'a> {
    objects: Vec<Object<'a>>,
}

impl<'a> Heap<'a> {
    /// Keeps an object; `None` if there are too many.
    pub fn add(&mut self, object: Object<'a>) -> Option<Value<'a>> {
        /// A tensor takes about seven, so this is some three hundred thousand tensors.
        const MAX_OBJECTS: usize = 1 << 21;
        let number = u32::try_from(self.objects.len()).ok()?;
        if self.objects.len() >= MAX_OBJECTS {
            return None;
        }
        self.objects.push(object);
        Some(Value::Object(number))
    }

    pub fn get(&self, value: Value<'a>) -> Option<&Object<'a>> {
        match value {
            Value::Object(number) => self.objects.get(number as usize),
            _ => None,
        }
    }

    pub fn get_mut(&mut self, value: Value<'a>) -> Option<&mut Object<'a>> {
        match value {
            Value::Object(number) => self.objects.get_mut(number as usize),
            _ => None,
        }
    }

    /// Every storage that a persistent id named.
    pub fn storages(&self) -> impl Iterator<Item = &Storage<'a>> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    pub fn tuple(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match self.get(value)? {
            Object::Tuple(items) => Some(items),
            _ => None,
        }
    }

    pub fn dict(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self.get(value)? {
            Object::Dict { pairs, .. } => Some(pairs),
            _ => None,
        }
    }

    /// A value in words, for errors.
    pub fn describe(&self, value: Value<'a>) -> String {
        match value {
            Value::None => "None".into(),
            Value::Bool(_) => "a truth value".into(),
            Value::Int(number) => format!("the integer {number}"),
            Value::Float => "a floating-point number".into(),
            Value::Text(text) => format!("the text `{}`", shorten(text)),
            Value::Global(global) => format!("the bare class or function {global:?}"),
            Value::Object(_) => match self.get(value) {
                Some(Object::Tuple(_)) => "a tuple".into(),
                Some(Object::List(_)) => "a list".into(),
                Some(Object::Dict { .. }) => "a dictionary".into(),
                Some(Object::Storage(_)) => "a bare storage".into(),
                Some(Object::Tensor(_)) => "a tensor".into(),
                None => "nothing".into(),
            },
        }
    }
}
