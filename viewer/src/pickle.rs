//! Takes the bytes out of a pickled one-dimensional array of `uint8`, and does nothing else that a pickle can ask for.
//!
//! A pickle is a program. This runs only the part of it that numpy writes for such an array: in each of the protocols
//! 0 to 5, by numpy 1 and 2, of shape (N,) and (N, 1), and the shorter form that depthcast can send. Six names are known
//! and none is looked up anywhere; what they stand for is done here. Whatever else is asked for is refused with what it
//! was and where, and nothing of it has happened then.
//!
//! Sources: the table of opcodes in CPython's `Lib/pickle.py`; `array_reduce` and `array_reduce_ex_picklebuffer` in
//! numpy's `methods.c`; recordings and `tests/system/depthcast_view.py`.

use std::borrow::Cow;
use std::fmt;

use crate::limits::{PICKLE_LINE_MAX, PICKLE_MEMO_MAX, PICKLE_STACK_MAX, PICKLE_VALUES_MAX};

/// The bytes of the array that `pickle` makes. They are borrowed where the pickle has them as they are.
///
/// Time and memory are bounded by the length of `pickle`: what is decoded is never longer, and happens once.
///
/// # Errors
/// [`Refused`] for everything that is not such an array.
pub fn array(pickle: &[u8]) -> Result<Cow<'_, [u8]>, Refused> {
    let mut machine = Machine { rest: pickle, ..Machine::default() };
    loop {
        let at = pickle.len() - machine.rest.len();
        match machine.step() {
            Ok(None) => {}
            Ok(Some(bytes)) if machine.rest.is_empty() => return Ok(bytes),
            Ok(Some(_)) => return Err(Refused { at: at + 1, what: What::Behind(machine.rest.len()) }),
            Err(what) => return Err(Refused { at, what }),
        }
    }
}

/// A pickle that is not an array of bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// Where in the pickle the opcode stands that was not obeyed.
    pub at: usize,
    /// What it was.
    pub what: What,
}

/// What a refused pickle asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// It ends in the middle.
    Ended,
    /// An opcode that no picture needs.
    Opcode(u8),
    /// A protocol that does not exist yet.
    Protocol(u8),
    /// A name of Python: the first characters of `module.name`.
    Name(String),
    /// A call that numpy does not make, or not with such arguments.
    Call,
    /// A state that numpy does not give to an array.
    State,
    /// An array of another type, or of more than one dimension, or whose size is not that of its data.
    Shape,
    /// Something that is no number, name or text of the expected kind.
    Value,
    /// Text that is not made of bytes.
    Text,
    /// More of something than any picture needs.
    Limit(&'static str),
    /// Its stack or memo does not hold what it takes from there.
    Stack,
    /// Data that comes beside the pickle, which this protocol cannot carry.
    OutOfBand,
    /// So many bytes behind its end.
    Behind(usize),
    /// It makes something else than an array.
    NoArray,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pickle is no picture: at byte {} ", self.at)?;
        match &self.what {
            What::Ended => write!(f, "it ends in the middle"),
            What::Opcode(byte) => write!(f, "it wants the opcode 0x{byte:02x}{}", opcode_name(*byte)),
            What::Protocol(number) => write!(f, "it names the protocol {number}, and 5 is the last known"),
            What::Name(name) => write!(f, "it wants {name}, and nothing of it was done"),
            What::Call => write!(f, "it makes a call that no picture needs"),
            What::State => write!(f, "it sets a state that no picture has"),
            What::Shape => write!(f, "its array is not one row of bytes of the stated length"),
            What::Value => write!(f, "it holds a value that cannot be read"),
            What::Text => write!(f, "its text is not made of bytes"),
            What::Limit(of) => write!(f, "it has too many {of}"),
            What::Stack => write!(f, "it takes what is not there"),
            What::OutOfBand => write!(f, "it wants data from beside it, and there is none"),
            What::Behind(bytes) => write!(f, "it has ended, and {bytes} bytes follow"),
            What::NoArray => write!(f, "it makes something that is no array"),
        }
    }
}

impl std::error::Error for Refused {}

/// For opcodes that make things happen, as people may know them.
fn opcode_name(byte: u8) -> &'static str {
    match byte {
        b'i' => " (INST)",
        b'o' => " (OBJ)",
        0x81 => " (NEWOBJ)",
        0x92 => " (NEWOBJ_EX)",
        b'P' => " (PERSID)",
        b'Q' => " (BINPERSID)",
        0x82..=0x84 => " (EXT)",
        b'}' | b'd' | b's' | b'u' => " (a dictionary)",
        b']' | b'l' | b'a' | b'e' => " (a list)",
        b'S' | b'T' | b'U' => " (a string of Python 2)",
        b'F' | b'G' => " (a fraction)",
        _ => "",
    }
}

/// The opcodes that are obeyed or answered in words, by their names in CPython's `Lib/pickle.py`.
mod op {
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const FRAME: u8 = 0x95;
    pub(super) const MARK: u8 = b'(';
    pub(super) const STOP: u8 = b'.';
    pub(super) const NONE: u8 = b'N';
    pub(super) const NEWTRUE: u8 = 0x88;
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const INT: u8 = b'I';
    pub(super) const LONG: u8 = b'L';
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const BININT: u8 = b'J';
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BININT2: u8 = b'M';
    pub(super) const UNICODE: u8 = b'V';
    pub(super) const SHORT_BINUNICODE: u8 = 0x8c;
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const BINUNICODE8: u8 = 0x8d;
    pub(super) const SHORT_BINBYTES: u8 = b'C';
    pub(super) const BINBYTES: u8 = b'B';
    pub(super) const BINBYTES8: u8 = 0x8e;
    pub(super) const BYTEARRAY8: u8 = 0x96;
    pub(super) const NEXT_BUFFER: u8 = 0x97;
    pub(super) const READONLY_BUFFER: u8 = 0x98;
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const TUPLE1: u8 = 0x85;
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const TUPLE3: u8 = 0x87;
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const STACK_GLOBAL: u8 = 0x93;
    pub(super) const PUT: u8 = b'p';
    pub(super) const BINPUT: u8 = b'q';
    pub(super) const LONG_BINPUT: u8 = b'r';
    pub(super) const MEMOIZE: u8 = 0x94;
    pub(super) const GET: u8 = b'g';
    pub(super) const BINGET: u8 = b'h';
    pub(super) const LONG_BINGET: u8 = b'j';
    pub(super) const REDUCE: u8 = b'R';
    pub(super) const BUILD: u8 = b'b';
}

/// Place of a value in [`Machine::values`]: copying a reference copies no data.
type Id = usize;

#[derive(Debug)]
enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// As protocol 0 writes it, not decoded yet.
    Escaped(&'a [u8]),
    /// UTF-8 as the later protocols write it, not decoded yet.
    Text(&'a [u8]),
    Bytes(Cow<'a, [u8]>),
    Name(Name),
    Tuple(Vec<Id>),
    /// Of bytes; whether its state has been set.
    Type(bool),
    /// What [`Name::Reconstruct`] makes, and its data once that is known.
    Array(Option<Id>),
}

/// The names that are known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Name {
    /// `numpy.core.multiarray._reconstruct`: an empty array.
    Reconstruct,
    /// `numpy.ndarray`.
    NdArray,
    /// `numpy.dtype`.
    DType,
    /// `_codecs.encode`: how protocols below 3 write bytes.
    Encode,
    /// `numpy.frombuffer`: depthcast's compact form.
    FromBuffer,
    /// `numpy.core.numeric._frombuffer`: protocol 5.
    FromPickleBuffer,
}

impl Name {
    fn find(module: &[u8], name: &[u8]) -> Option<Self> {
        // numpy 2 moved `core`; both names stand for the same.
        Some(match (module, name) {
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => Self::Reconstruct,
            (b"numpy", b"ndarray") => Self::NdArray,
            (b"numpy", b"dtype") => Self::DType,
            (b"_codecs", b"encode") => Self::Encode,
            (b"numpy", b"frombuffer") => Self::FromBuffer,
            (b"numpy.core.numeric" | b"numpy._core.numeric", b"_frombuffer") => Self::FromPickleBuffer,
            _ => return None,
        })
    }
}

#[derive(Debug, Default)]
struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at which marks stand.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
    /// Places that MEMOIZE has counted.
    memoized: usize,
}

impl<'a> Machine<'a> {
    /// Obeys one opcode; the bytes of the array when that was the last.
    fn step(&mut self) -> Result<Option<Cow<'a, [u8]>>, What> {
        let [opcode] = self.take()?;
        if let Some(value) = self.value(opcode)? {
            self.push(value)?;
            return Ok(None);
        }
        match opcode {
            op::PROTO => {
                let [version] = self.take()?;
                if version > 5 {
                    return Err(What::Protocol(version));
                }
            }
            op::FRAME => {
                let length = self.length8()?;
                if length > self.rest.len() {
                    return Err(What::Ended);
                }
            }
            op::MARK => {
                if self.marks.len() + self.stack.len() >= PICKLE_STACK_MAX {
                    return Err(What::Limit("things on its stack"));
                }
                self.marks.push(self.stack.len());
            }
            op::NEXT_BUFFER | op::READONLY_BUFFER => return Err(What::OutOfBand),
            op::TUPLE => {
                let mark = self.marks.pop().ok_or(What::Stack)?;
                let items = self.stack.split_off(mark);
                self.push(Value::Tuple(items))?;
            }
            op::TUPLE1 => self.tuple(1)?,
            op::TUPLE2 => self.tuple(2)?,
            op::TUPLE3 => self.tuple(3)?,
            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.name(module, name)?;
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (&self.values[module], &self.values[name])
                else {
                    return Err(What::Value);
                };
                let (module, name) = (*module, *name);
                self.name(module, name)?;
            }
            op::PUT | op::BINPUT | op::LONG_BINPUT => {
                let place = self.place(opcode)?;
                self.put(place)?;
            }
            op::MEMOIZE => self.put(self.memoized)?,
            op::GET | op::BINGET | op::LONG_BINGET => {
                let place = self.place(opcode)?;
                self.get(place)?;
            }
            op::REDUCE => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let value = self.call(function, arguments)?;
                self.push(value)?;
            }
            op::BUILD => {
                let state = self.pop()?;
                let object = self.pop()?;
                self.build(object, state)?;
                self.stack.push(object);
            }
            op::STOP => return self.finish().map(Some),
            other => return Err(What::Opcode(other)),
        }
        Ok(None)
    }

    /// The value that an opcode brings with it; `None` for an opcode that does something else, of which nothing is read.
    fn value(&mut self, opcode: u8) -> Result<Option<Value<'a>>, What> {
        Ok(Some(match opcode {
            op::NONE => Value::None,
            op::NEWTRUE => Value::Bool(true),
            op::NEWFALSE => Value::Bool(false),
            op::INT => match self.line()? {
                b"00" => Value::Bool(false),
                b"01" => Value::Bool(true),
                digits => Value::Int(int(digits)?),
            },
            op::LONG => {
                let line = self.line()?;
                // Python 3.6 writes `0L`, and so did Python 2.
                Value::Int(int(line.strip_suffix(b"L").unwrap_or(line))?)
            }
            op::LONG1 => {
                let bytes = self.bytes1()?;
                if bytes.len() > 8 {
                    return Err(What::Value);
                }
                let sign = bytes.last().is_some_and(|last| last & 0x80 != 0);
                let mut wide = [if sign { 0xff } else { 0 }; 8];
                wide[..bytes.len()].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(wide))
            }
            op::BININT => Value::Int(i32::from_le_bytes(self.take()?).into()),
            op::BININT1 => Value::Int(u8::from_le_bytes(self.take()?).into()),
            op::BININT2 => Value::Int(u16::from_le_bytes(self.take()?).into()),
            op::UNICODE => {
                let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or(What::Ended)?;
                let line = self.bytes(end)?;
                self.bytes(1)?;
                Value::Escaped(line)
            }
            op::SHORT_BINUNICODE => Value::Text(self.bytes1()?),
            op::BINUNICODE => Value::Text(self.bytes4()?),
            op::BINUNICODE8 => Value::Text(self.bytes8()?),
            op::SHORT_BINBYTES => Value::Bytes(self.bytes1()?.into()),
            op::BINBYTES => Value::Bytes(self.bytes4()?.into()),
            op::BINBYTES8 | op::BYTEARRAY8 => Value::Bytes(self.bytes8()?.into()),
            op::EMPTY_TUPLE => Value::Tuple(Vec::new()),
            _ => return Ok(None),
        }))
    }

    /// A tuple of the `count` topmost things.
    fn tuple(&mut self, count: usize) -> Result<(), What> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Value::Tuple(items))
    }

    /// The place in the memo that one of the opcodes for it names.
    fn place(&mut self, opcode: u8) -> Result<usize, What> {
        match opcode {
            op::BINPUT | op::BINGET => Ok(u8::from_le_bytes(self.take()?).into()),
            op::LONG_BINPUT | op::LONG_BINGET => self.length4(),
            _ => usize::try_from(int(self.line()?)?).map_err(|_| What::Value),
        }
    }

    fn finish(&mut self) -> Result<Cow<'a, [u8]>, What> {
        let top = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return Err(What::Stack);
        }
        let Value::Array(Some(data)) = self.values[top] else { return Err(What::NoArray) };
        match &mut self.values[data] {
            Value::Bytes(bytes) => Ok(std::mem::take(bytes)),
            _ => Err(What::NoArray),
        }
    }

    /// What the known functions do, with exactly the arguments that numpy gives them.
    fn call(&self, function: Id, arguments: Id) -> Result<Value<'a>, What> {
        let (Value::Name(name), Value::Tuple(ids)) = (&self.values[function], &self.values[arguments]) else {
            return Err(What::Call);
        };
        let arguments: Vec<&Value<'a>> = ids.iter().map(|id| &self.values[*id]).collect();
        match (name, &arguments[..]) {
            (Name::Encode, [text, codec]) if codec.is(b"latin1") => match text {
                Value::Escaped(text) => Ok(Value::Bytes(unescape(text)?)),
                Value::Text(text) => Ok(Value::Bytes(latin1(text)?)),
                _ => Err(What::Call),
            },
            (Name::Reconstruct, [Value::Name(Name::NdArray), Value::Tuple(shape), Value::Bytes(kind)])
                if kind[..] == *b"b" =>
            {
                match shape[..] {
                    [zero] if matches!(self.values[zero], Value::Int(0)) => Ok(Value::Array(None)),
                    _ => Err(What::Call),
                }
            }
            // Not aligned as in a structure of C, and copied; numpy says so in numbers or in truths.
            (Name::DType, [code, Value::Bool(false) | Value::Int(0), Value::Bool(true) | Value::Int(1)]) => {
                if code.is(b"u1") {
                    Ok(Value::Type(false))
                } else {
                    Err(What::Shape)
                }
            }
            (Name::FromBuffer, [Value::Bytes(_), code]) if code.is(b"B") => Ok(Value::Array(Some(ids[0]))),
            (
                Name::FromPickleBuffer,
                [Value::Bytes(bytes), Value::Type(true), Value::Tuple(shape), order],
            ) if order.is(b"C") || order.is(b"F") => {
                self.is_row(shape, bytes.len())?;
                Ok(Value::Array(Some(ids[0])))
            }
            _ => Err(What::Call),
        }
    }

    /// Sets the state of a type or of an array, once.
    fn build(&mut self, object: Id, state: Id) -> Result<(), What> {
        let Value::Tuple(ids) = &self.values[state] else { return Err(What::State) };
        let state: Vec<&Value<'a>> = ids.iter().map(|id| &self.values[*id]).collect();
        let new = match (&self.values[object], &state[..]) {
            // Version, byte order, no subarray, no fields, no names, size and alignment as the type has them, no flags.
            (
                Value::Type(false),
                [
                    Value::Int(3),
                    order,
                    Value::None,
                    Value::None,
                    Value::None,
                    Value::Int(-1),
                    Value::Int(-1),
                    Value::Int(0),
                ],
            ) if order.is(b"|") => Value::Type(true),
            // Version, shape, type, not in Fortran's order, data.
            (
                Value::Array(None),
                [
                    Value::Int(1),
                    Value::Tuple(shape),
                    Value::Type(true),
                    Value::Bool(false) | Value::Int(0),
                    Value::Bytes(data),
                ],
            ) => {
                self.is_row(shape, data.len())?;
                Value::Array(Some(ids[4]))
            }
            _ => return Err(What::State),
        };
        self.values[object] = new;
        Ok(())
    }

    /// Shapes (N,) and (N, 1) are what OpenCV has given to the bytes of a picture.
    fn is_row(&self, shape: &[Id], length: usize) -> Result<(), What> {
        let side = |id: Id| match self.values[id] {
            Value::Int(n) => usize::try_from(n).ok(),
            _ => None,
        };
        let rows = match *shape {
            [rows] => side(rows),
            [rows, columns] if side(columns) == Some(1) => side(rows),
            _ => None,
        };
        if rows == Some(length) { Ok(()) } else { Err(What::Shape) }
    }

    fn name(&mut self, module: &[u8], name: &[u8]) -> Result<(), What> {
        match Name::find(module, name) {
            Some(name) => self.push(Value::Name(name)),
            None => {
                let whole = [module, b".", name].concat();
                let shown = String::from_utf8_lossy(&whole[..whole.len().min(PICKLE_LINE_MAX)]);
                Err(What::Name(shown.chars().map(|c| if c.is_control() { '?' } else { c }).collect()))
            }
        }
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), What> {
        if self.values.len() >= PICKLE_VALUES_MAX {
            return Err(What::Limit("values"));
        }
        self.values.push(value);
        self.push_again(self.values.len() - 1)
    }

    fn push_again(&mut self, id: Id) -> Result<(), What> {
        if self.marks.len() + self.stack.len() >= PICKLE_STACK_MAX {
            return Err(What::Limit("things on its stack"));
        }
        self.stack.push(id);
        Ok(())
    }

    /// Takes from the stack, never across a mark.
    fn pop(&mut self) -> Result<Id, What> {
        if self.marks.last().is_some_and(|mark| *mark == self.stack.len()) {
            return Err(What::Stack);
        }
        self.stack.pop().ok_or(What::Stack)
    }

    fn put(&mut self, place: usize) -> Result<(), What> {
        if place >= PICKLE_MEMO_MAX {
            return Err(What::Limit("places in its memo"));
        }
        let top = self.pop()?;
        self.stack.push(top);
        if self.memo.len() <= place {
            self.memo.resize(place + 1, None);
        }
        self.memoized += usize::from(self.memo[place].is_none());
        self.memo[place] = Some(top);
        Ok(())
    }

    fn get(&mut self, place: usize) -> Result<(), What> {
        let id = self.memo.get(place).copied().flatten().ok_or(What::Stack)?;
        self.push_again(id)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], What> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(What::Ended)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], What> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(What::Ended)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Bytes behind their number, which is one byte.
    fn bytes1(&mut self) -> Result<&'a [u8], What> {
        let [length] = self.take()?;
        self.bytes(length.into())
    }

    /// Bytes behind their number, which is four bytes.
    fn bytes4(&mut self) -> Result<&'a [u8], What> {
        let length = self.length4()?;
        self.bytes(length)
    }

    /// Bytes behind their number, which is eight bytes.
    fn bytes8(&mut self) -> Result<&'a [u8], What> {
        let length = self.length8()?;
        self.bytes(length)
    }

    fn length4(&mut self) -> Result<usize, What> {
        usize::try_from(u32::from_le_bytes(self.take()?)).map_err(|_| What::Ended)
    }

    fn length8(&mut self) -> Result<usize, What> {
        usize::try_from(u64::from_le_bytes(self.take()?)).map_err(|_| What::Ended)
    }

    /// A number or a name, without its line feed.
    fn line(&mut self) -> Result<&'a [u8], What> {
        let near = &self.rest[..self.rest.len().min(PICKLE_LINE_MAX)];
        match near.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let line = self.bytes(end)?;
                self.bytes(1)?;
                Ok(line)
            }
            None if near.len() == PICKLE_LINE_MAX => Err(What::Limit("characters in a line")),
            None => Err(What::Ended),
        }
    }
}

impl Value<'_> {
    /// Whether this is the text `ascii`, which has no backslash.
    fn is(&self, ascii: &[u8]) -> bool {
        matches!(self, Value::Escaped(text) | Value::Text(text) if *text == ascii)
    }
}

fn int(digits: &[u8]) -> Result<i64, What> {
    str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(What::Value)
}

/// Text in raw-unicode-escape, as bytes: CPython's `_PyUnicode_DecodeRawUnicodeEscape`, then latin-1.
fn unescape(text: &[u8]) -> Result<Cow<'_, [u8]>, What> {
    let Some(first) = text.iter().position(|byte| *byte == b'\\') else { return Ok(text.into()) };
    let mut bytes = Vec::with_capacity(text.len());
    let (plain, mut rest) = text.split_at(first);
    bytes.extend_from_slice(plain);
    while let [b'\\', kind, behind @ ..] = rest {
        let digits = match kind {
            b'u' => 4,
            b'U' => 8,
            // Not an escape: the backslash is itself, and so is what follows.
            _ => 0,
        };
        let Some((code, behind)) = behind.split_at_checked(digits) else { return Err(What::Text) };
        if digits == 0 {
            bytes.extend_from_slice(&[b'\\', *kind]);
        } else {
            // `from_str_radix` would take a sign.
            let code = str::from_utf8(code).ok().filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
            let code = code.and_then(|code| u32::from_str_radix(code, 16).ok()).ok_or(What::Text)?;
            bytes.push(u8::try_from(code).map_err(|_| What::Text)?);
        }
        let next = behind.iter().position(|byte| *byte == b'\\').unwrap_or(behind.len());
        bytes.extend_from_slice(&behind[..next]);
        rest = &behind[next..];
    }
    // A single backslash at the end is one.
    bytes.extend_from_slice(rest);
    Ok(bytes.into())
}

/// UTF-8 text as bytes, if each of its characters is one.
fn latin1(text: &[u8]) -> Result<Cow<'_, [u8]>, What> {
    let text = str::from_utf8(text).map_err(|_| What::Text)?;
    let bytes: Result<Vec<u8>, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
    bytes.map(Cow::Owned).map_err(|_| What::Text)
}

#[cfg(test)]
mod tests;
