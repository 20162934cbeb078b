//! A pickle interpreter that can build state dicts and nothing else.
//!
//! A pickle is a program for a stack machine, and Python's machine imports and calls whatever the
//! program names. This one has no such power: the [`Global`]s are a closed list of names for
//! things that happen here, in this module, and every opcode or name beyond what `torch.save`
//! writes for a state dict ends the reading with an error that says where and what.
//!
//! Nothing recurses, and work and memory are bounded by the number of opcodes.

mod build;
mod cursor;
mod opcode;
mod stack;
mod tensor;
mod value;

use std::collections::HashMap;

pub(crate) use cursor::Cursor;
use value::Global;
pub(crate) use value::{Heap, Object, Storage, Tensor, Value};

use crate::error::{FormatError, Result, shorten};

/// The longest pickle that is read, by the same measure as a safetensors header.
pub(crate) const PICKLE_LIMIT: usize = crate::checkpoint::HEADER_LIMIT as usize;

/// Opcodes in all pickles of a file. A tensor takes about 45, so this is some 180 000 tensors.
const MAX_STEPS: usize = 1 << 23;

/// Runs the pickles of one file, whose objects end up on one heap.
#[derive(Debug, Default)]
pub(crate) struct Machine<'a> {
    pub heap: Heap<'a>,
    stack: Vec<Value<'a>>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    steps: usize,
}

impl<'a> Machine<'a> {
    /// Runs one pickle up to and with its STOP.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] if it is not a well-formed pickle, [`FormatError::Pickle`] if it is
    /// one that no state dict is written as.
    pub fn run(&mut self, cursor: &mut Cursor<'a>) -> Result<Value<'a>> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        let at = cursor.position();
        let [proto, version] = cursor.array()?;
        if proto != opcode::PROTO {
            return Err(cursor.corrupt(at, format!("expected a pickle, found {proto:#04x}")));
        }
        if !matches!(version, 2 | 3) {
            let found = format!("pickle protocol {version} instead of PyTorch's protocol 2");
            return Err(cursor.forbidden(at, found));
        }
        loop {
            let at = cursor.position();
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(cursor.forbidden(at, format!("more than {MAX_STEPS} opcodes")));
            }
            let code = cursor.byte()?;
            if code != opcode::STOP {
                self.step(cursor, at, code)?;
                continue;
            }
            return match (self.stack.as_slice(), self.marks.is_empty()) {
                (&[value], true) => Ok(value),
                _ => Err(cursor.corrupt(at, "expected one value at the end of the pickle")),
            };
        }
    }

    fn step(&mut self, cursor: &mut Cursor<'a>, at: usize, code: u8) -> Result<()> {
        let value = match code {
            opcode::NONE => Value::None,
            opcode::NEWTRUE => Value::Bool(true),
            opcode::NEWFALSE => Value::Bool(false),
            opcode::BININT => Value::Int(i32::from_le_bytes(cursor.array()?).into()),
            opcode::BININT1 => Value::Int(cursor.byte()?.into()),
            opcode::BININT2 => Value::Int(u16::from_le_bytes(cursor.array()?).into()),
            opcode::LONG1 => long(cursor, at)?,
            opcode::BINFLOAT => {
                cursor.array::<8>()?;
                Value::Float
            }
            opcode::BINUNICODE => {
                let length = u32::from_le_bytes(cursor.array()?);
                Value::Text(cursor.text(length.into())?)
            }
            opcode::SHORT_BINSTRING => {
                let length = cursor.byte()?;
                Value::Text(cursor.text(length.into())?)
            }
            opcode::EMPTY_TUPLE => self.keep(cursor, at, Object::Tuple(Vec::new()))?,
            opcode::EMPTY_LIST => self.keep(cursor, at, Object::List(Vec::new()))?,
            opcode::EMPTY_DICT => {
                let (pairs, ordered) = (Vec::new(), false);
                self.keep(cursor, at, Object::Dict { pairs, ordered })?
            }
            opcode::TUPLE => {
                let items = self.pop_mark(cursor, at)?;
                self.keep(cursor, at, Object::Tuple(items))?
            }
            opcode::TUPLE1 | opcode::TUPLE2 | opcode::TUPLE3 => {
                let count = usize::from(code - opcode::TUPLE1) + 1;
                let items = self.pop_many(cursor, at, count)?;
                self.keep(cursor, at, Object::Tuple(items))?
            }
            opcode::GLOBAL => {
                let (module, name) = (cursor.line()?, cursor.line()?);
                match Global::find(module, name) {
                    Some(global) => Value::Global(global),
                    None => return Err(foreign(cursor, at, module, name)),
                }
            }
            opcode::BINGET => {
                let number = cursor.byte()?.into();
                self.recall(cursor, at, number)?
            }
            opcode::LONG_BINGET => {
                let number = u32::from_le_bytes(cursor.array()?);
                self.recall(cursor, at, number)?
            }
            opcode::REDUCE => self.reduce(cursor, at)?,
            opcode::BINPERSID => self.persistent(cursor, at)?,
            _ => return self.change(cursor, at, code),
        };
        self.stack.push(value);
        Ok(())
    }

    /// The opcodes that push nothing.
    fn change(&mut self, cursor: &mut Cursor<'a>, at: usize, code: u8) -> Result<()> {
        match code {
            opcode::MARK => self.marks.push(self.stack.len()),
            opcode::BINPUT => {
                let number = cursor.byte()?.into();
                self.memo.insert(number, self.top(cursor, at)?);
            }
            opcode::LONG_BINPUT => {
                let number = u32::from_le_bytes(cursor.array()?);
                self.memo.insert(number, self.top(cursor, at)?);
            }
            opcode::APPEND => {
                let item = self.pop(cursor, at)?;
                self.append(cursor, at, [item])?;
            }
            opcode::APPENDS => {
                let items = self.pop_mark(cursor, at)?;
                self.append(cursor, at, items)?;
            }
            opcode::SETITEM => {
                let items = self.pop_many(cursor, at, 2)?;
                self.set_items(cursor, at, &items)?;
            }
            opcode::SETITEMS => {
                let items = self.pop_mark(cursor, at)?;
                self.set_items(cursor, at, &items)?;
            }
            opcode::BUILD => self.build(cursor, at)?,
            opcode::INST => {
                let (module, name) = (cursor.line()?, cursor.line()?);
                return Err(foreign(cursor, at, module, name));
            }
            opcode::STACK_GLOBAL => {
                return Err(match self.stack.as_slice() {
                    &[.., Value::Text(module), Value::Text(name)] => {
                        foreign(cursor, at, module, name)
                    }
                    _ => cursor.forbidden(at, opcode::describe(code)),
                });
            }
            _ => return Err(cursor.forbidden(at, opcode::describe(code))),
        }
        Ok(())
    }

    fn keep(&mut self, cursor: &Cursor<'a>, at: usize, object: Object<'a>) -> Result<Value<'a>> {
        let kept = self.heap.add(object);
        kept.ok_or_else(|| cursor.forbidden(at, "more objects than any state dict has"))
    }
}

/// An integer of up to eight bytes.
fn long<'a>(cursor: &mut Cursor<'a>, at: usize) -> Result<Value<'a>> {
    let length = cursor.byte()?;
    let bytes = cursor.take(length.into())?;
    if bytes.len() > 8 {
        return Err(cursor.forbidden(at, format!("an integer of {length} bytes")));
    }
    let negative = bytes.last().is_some_and(|b| *b >= 0x80);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    Ok(Value::Int(i64::from_le_bytes(all)))
}

/// The refusal of a name that is not on the list.
fn foreign(cursor: &Cursor<'_>, at: usize, module: &str, name: &str) -> FormatError {
    let name = shorten(&format!("{module}.{name}"));
    cursor.forbidden(at, format!("the class or function `{name}`"))
}
