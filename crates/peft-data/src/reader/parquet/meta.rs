//! The footer: which columns there are and where their pages lie.

use super::Problem;
use super::thrift::{Fault, TRUE, Thrift};
use crate::reader::row::MAX_COLUMNS;

/// Schema nodes accepted: every column a list of three nodes, and the root.
const MAX_NODES: usize = 3 * MAX_COLUMNS + 1;

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Physical {
    Bool,
    Int32,
    Int64,
    Float,
    Double,
    Bytes,
}

impl Physical {
    /// Bytes of a value; 0 for those that are not fixed.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::Int32 | Self::Float => 4,
            Self::Int64 | Self::Double => 8,
            Self::Bool | Self::Bytes => 0,
        }
    }
}

/// What the stored integers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Plain,
    Unsigned,
    /// Digits after the point.
    Decimal(u32),
}

/// How many levels say what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Levels {
    /// The value, or the whole list, may be null.
    pub(crate) outer: bool,
    /// It is a list.
    pub(crate) list: bool,
    /// In how many ways elements of the list may be null: by themselves, and by the object that they
    /// are a field of.
    pub(crate) inner: u32,
}

impl Levels {
    pub(crate) fn max_definition(self) -> u32 {
        u32::from(self.outer) + u32::from(self.list) + self.inner
    }
}

/// A readable column: its place among the leaves, and its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Leaf {
    pub(crate) index: usize,
    pub(crate) physical: Physical,
    pub(crate) meaning: Meaning,
    pub(crate) levels: Levels,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// Values, or lists of values.
    Values(Leaf),
    /// Lists of objects without lists or objects in them: the fields, each as a list.
    Objects(Vec<(String, Leaf)>),
}

/// The pages of a column in a row group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) codec: i64,
    pub(crate) values: u64,
    pub(crate) start: u64,
    pub(crate) size: u64,
}

/// Rows whose columns are stored together.
#[derive(Debug)]
pub(crate) struct RowGroup {
    pub(crate) rows: u64,
    pub(crate) chunks: Vec<Chunk>,
}

/// The footer's content.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// Names, and how to read them; `None` for types that are not read here.
    pub(crate) columns: Vec<(String, Option<Content>)>,
    pub(crate) groups: Vec<RowGroup>,
    /// What the `datasets` library wrote about the columns.
    pub(crate) huggingface: Option<String>,
}

#[derive(Default)]
struct Node {
    name: String,
    kind: Option<i64>,
    repetition: i64,
    children: u32,
    converted: Option<i64>,
    scale: i64,
    /// Which logical type, by its number in the union.
    logical: i16,
    unsigned: bool,
}

const REQUIRED: i64 = 0;
const OPTIONAL: i64 = 1;
const REPEATED: i64 = 2;

impl Metadata {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let (mut nodes, mut groups, mut huggingface) = (Vec::new(), Vec::new(), None);
        let mut encrypted = false;
        Thrift::new(bytes).fields(|t, id, kind| {
            match id {
                2 => t.structs(kind, |t| {
                    if nodes.len() == MAX_NODES {
                        return Err(Fault::Broken("too many columns"));
                    }
                    nodes.push(node(t)?);
                    Ok(())
                })?,
                4 => t.structs(kind, |t| {
                    groups.push(row_group(t)?);
                    Ok(())
                })?,
                5 => t.structs(kind, |t| {
                    let (mut key, mut value) = ("", "");
                    t.fields(|t, id, kind| {
                        match id {
                            1 => key = t.string(kind)?,
                            2 => value = t.string(kind)?,
                            _ => return Ok(false),
                        }
                        Ok(true)
                    })?;
                    if key == "huggingface" {
                        huggingface = Some(value.to_owned());
                    }
                    Ok(())
                })?,
                8 => {
                    encrypted = true;
                    return Ok(false);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if encrypted {
            return Err("the file is encrypted".into());
        }
        let (columns, leaves) = columns(&nodes)?;
        if let Some(group) = groups.iter().find(|g| g.chunks.len() != leaves) {
            let found = group.chunks.len();
            return Err(format!("a row group has {found} columns, the schema {leaves}").into());
        }
        Ok(Self {
            columns,
            groups,
            huggingface,
        })
    }
}

fn node(t: &mut Thrift<'_>) -> Result<Node, Fault> {
    let mut node = Node::default();
    let mut named = false;
    t.fields(|t, id, kind| {
        match id {
            1 => node.kind = Some(t.int(kind)?),
            3 => node.repetition = t.int(kind)?,
            4 => {
                node.name = t.string(kind)?.to_owned();
                named = true;
            }
            5 => node.children = t.size(kind)?,
            6 => node.converted = Some(t.int(kind)?),
            7 => node.scale = t.int(kind)?,
            10 => t.structure(kind, |t, logical, kind| {
                node.logical = logical;
                // Of the integer type, field 2 says whether it is signed.
                t.structure(kind, |_, id, kind| {
                    if logical == 10 && id == 2 {
                        node.unsigned = kind != TRUE;
                    }
                    Ok(false)
                })?;
                Ok(true)
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    match named {
        true => Ok(node),
        false => Err(Fault::Broken("a column has no name")),
    }
}

fn row_group(t: &mut Thrift<'_>) -> Result<RowGroup, Fault> {
    let (mut rows, mut chunks) = (None, Vec::new());
    t.fields(|t, id, kind| {
        match id {
            1 => t.structs(kind, |t| {
                chunks.push(chunk(t)?);
                Ok(())
            })?,
            3 => rows = u64::try_from(t.int(kind)?).ok(),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let rows = rows.ok_or(Fault::Broken("a row group has no number of rows"))?;
    Ok(RowGroup { rows, chunks })
}

fn chunk(t: &mut Thrift<'_>) -> Result<Chunk, Fault> {
    let (mut codec, mut values, mut size) = (None, None, None);
    let (mut data, mut dictionary, mut elsewhere) = (None, None, false);
    t.fields(|t, id, kind| {
        match id {
            1 => elsewhere = !t.binary(kind)?.is_empty(),
            3 => t.structure(kind, |t, id, kind| {
                match id {
                    4 => codec = Some(t.int(kind)?),
                    5 => values = u64::try_from(t.int(kind)?).ok(),
                    7 => size = u64::try_from(t.int(kind)?).ok(),
                    9 => data = u64::try_from(t.int(kind)?).ok(),
                    11 => dictionary = u64::try_from(t.int(kind)?).ok(),
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if elsewhere {
        return Err(Fault::Broken("a column lies in another file"));
    }
    let (Some(codec), Some(values), Some(size), Some(data)) = (codec, values, size, data) else {
        return Err(Fault::Broken("a column does not say where it lies"));
    };
    // Some writers give 0 where there is no dictionary.
    let start = match dictionary {
        Some(at) if at > 0 && at < data => at,
        _ => data,
    };
    Ok(Chunk {
        codec,
        values,
        start,
        size,
    })
}

type Columns = Vec<(String, Option<Content>)>;

/// The columns under the root, and the number of leaves.
fn columns(nodes: &[Node]) -> Result<(Columns, usize), Problem> {
    let root = nodes.first().ok_or("the schema is empty")?;
    let (mut at, mut leaves, mut out) = (1, 0, Vec::new());
    for _ in 0..root.children {
        let (start, first) = (at, leaves);
        pass(nodes, &mut at, &mut leaves)?;
        let column = &nodes[start..at];
        let content = match leaf(column, first) {
            Some(leaf) => Some(Content::Values(leaf)),
            None => objects(column, first).map(Content::Objects),
        };
        out.push((nodes[start].name.clone(), content));
    }
    match at == nodes.len() {
        true if out.len() <= MAX_COLUMNS => Ok((out, leaves)),
        true => Err(format!("more than {MAX_COLUMNS} columns").into()),
        false => Err("the schema has nodes that belong to no column".into()),
    }
}

/// Passes over a node with all below it.
fn pass(nodes: &[Node], at: &mut usize, leaves: &mut usize) -> Result<(), Problem> {
    let mut open = 1u64;
    while open > 0 {
        let node = nodes.get(*at).ok_or("the schema ends too early")?;
        *at += 1;
        *leaves += usize::from(node.children == 0);
        open = open - 1 + u64::from(node.children);
    }
    Ok(())
}

/// How to read a list of objects of single values, as conversations are; else `None`.
fn objects(nodes: &[Node], index: usize) -> Option<Vec<(String, Leaf)>> {
    let [list, middle, object, fields @ ..] = nodes else {
        return None;
    };
    let shape = (list.children, middle.children, object.children as usize);
    let optional = |node: &Node| node.repetition == OPTIONAL;
    let single = |node: &Node| matches!(node.repetition, REQUIRED | OPTIONAL);
    let fits = shape == (1, 1, fields.len())
        && !fields.is_empty()
        && middle.repetition == REPEATED
        && list.repetition != REPEATED
        && single(object)
        && fields
            .iter()
            .all(|field| field.children == 0 && single(field));
    if !fits {
        return None;
    }
    let fields = fields.iter().zip(index..);
    fields
        .map(|(field, index)| {
            let levels = Levels {
                outer: optional(list),
                list: true,
                inner: u32::from(optional(object)) + u32::from(optional(field)),
            };
            Some((field.name.clone(), typed(field, index, levels)?))
        })
        .collect()
}

/// How to read a column: a value, a list of values in two or three levels; else `None`.
fn leaf(nodes: &[Node], index: usize) -> Option<Leaf> {
    let levels = |outer, list, inner| Levels {
        outer,
        list,
        inner: u32::from(inner),
    };
    let optional = |node: &Node| node.repetition == OPTIONAL;
    let (last, levels) = match nodes {
        [value] if value.repetition == REPEATED => (value, levels(false, true, false)),
        [value] => (value, levels(optional(value), false, false)),
        [list, value] if value.repetition == REPEATED && list.repetition != REPEATED => {
            (value, levels(optional(list), true, false))
        }
        [list, middle, value]
            if (list.children, middle.children) == (1, 1)
                && middle.repetition == REPEATED
                && list.repetition != REPEATED
                && matches!(value.repetition, REQUIRED | OPTIONAL) =>
        {
            (value, levels(optional(list), true, optional(value)))
        }
        _ => return None,
    };
    typed(last, index, levels)
}

fn typed(last: &Node, index: usize, levels: Levels) -> Option<Leaf> {
    let physical = match last.kind? {
        0 => Physical::Bool,
        1 => Physical::Int32,
        2 => Physical::Int64,
        4 => Physical::Float,
        5 => Physical::Double,
        6 => Physical::Bytes,
        _ => return None,
    };
    let integer = matches!(physical, Physical::Int32 | Physical::Int64);
    let meaning = match (last.converted, last.logical) {
        (Some(5), _) | (_, 5) => match integer {
            true => Meaning::Decimal(u32::try_from(last.scale).ok().filter(|s| *s < 19)?),
            false => return None,
        },
        (Some(11..=14), _) => Meaning::Unsigned,
        _ if last.unsigned => Meaning::Unsigned,
        _ => Meaning::Plain,
    };
    Some(Leaf {
        index,
        physical,
        meaning,
        levels,
    })
}
