//! What a single setting may hold, and how its text is read: one rule for file, environment, flags and defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What was written, before it has a type.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    /// Text, or a whole number or truth value of a file, as it is written.
    Text(String),
    /// A number with a fraction in a file; its spelling is lost.
    Fraction(f64),
    /// A list of a file.
    List(Vec<String>),
}

impl Raw {
    /// The text of a single value.
    ///
    /// # Errors
    /// Where a list or a number without its spelling stands instead.
    pub fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Fraction(_) => Err("is a number with a fraction; write it in quotes".to_owned()),
            Self::List(_) => Err("is a list where one value is expected".to_owned()),
        }
    }

    /// Shown to people.
    pub fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Fraction(number) => number.to_string(),
            Self::List(items) => items.join(", "),
        }
    }
}

/// A type a setting can have.
pub trait Value: Sized {
    /// What may be written, in words.
    const KIND: &'static str;

    /// Reads it; the error reads on after "listen.address: ".
    ///
    /// # Errors
    /// Where the text does not have the form that [`Value::KIND`] names.
    fn parse(raw: &Raw) -> Result<Self, String>;

    /// What it is where neither a value nor a default is given; `None` means that it is required.
    fn absent() -> Option<Self> {
        None
    }
}

impl Value for String {
    const KIND: &'static str = "text";

    fn parse(raw: &Raw) -> Result<Self, String> {
        raw.text().map(str::to_owned)
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "path";

    fn parse(raw: &Raw) -> Result<Self, String> {
        match raw.text()? {
            "" => Err("is empty where a path is expected".to_owned()),
            text => Ok(Self::from(text)),
        }
    }
}

impl Value for bool {
    const KIND: &'static str = "`true` or `false`";

    fn parse(raw: &Raw) -> Result<Self, String> {
        match raw.text()?.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("{other:?} is neither true nor false")),
        }
    }
}

impl Value for SocketAddr {
    const KIND: &'static str = "address:port";

    fn parse(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?.trim();
        text.parse().map_err(|_| format!("{text:?} is no address with a port, such as 127.0.0.1:8080 or [::]:8080"))
    }
}

macro_rules! whole_numbers {
    ($($ty:ty),*) => { $(
        impl Value for $ty {
            const KIND: &'static str = "whole number";

            fn parse(raw: &Raw) -> Result<Self, String> {
                let text = raw.text()?.trim();
                let digits = text.replace('_', "");
                digits.parse().map_err(|_| format!("{text:?} is no whole number from {} to {}", Self::MIN, Self::MAX))
            }
        }
    )* };
}

whole_numbers!(u16, u32, u64, usize);

impl Value for f64 {
    const KIND: &'static str = "number";

    fn parse(raw: &Raw) -> Result<Self, String> {
        if let Raw::Fraction(number) = raw {
            return Ok(*number);
        }
        let text = raw.text()?.trim();
        text.parse().ok().filter(|number: &Self| number.is_finite()).ok_or_else(|| format!("{text:?} is no number"))
    }
}

const DURATION_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Value for Duration {
    const KIND: &'static str = "duration (`500ms`, `2s`, `1m`, `1h`, `1d`)";

    fn parse(raw: &Raw) -> Result<Self, String> {
        let text = match raw {
            Raw::Fraction(number) => return Err(bare_duration(&number.to_string())),
            other => other.text()?.trim(),
        };
        let (number, unit) = split_unit(text);
        if unit.is_empty() && !number.is_empty() {
            return Err(bare_duration(text));
        }
        let factor = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let millis = factor.zip(number.parse::<u64>().ok()).and_then(|(factor, number)| number.checked_mul(factor));
        millis.map(Self::from_millis).ok_or_else(|| format!("{text:?} is no duration such as 500ms, 2s, 1m, 1h or 1d"))
    }
}

fn bare_duration(number: &str) -> String {
    format!("{number} has no unit; write {number}ms, {number}s or {number}m")
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(usize);

impl ByteSize {
    /// From a plain number of bytes.
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// As a plain number of bytes.
    pub const fn get(self) -> usize {
        self.0
    }
}

const SIZE_UNITS: [(&str, usize); 8] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl Value for ByteSize {
    const KIND: &'static str = "size (`65536`, `64KiB`, `1MiB`, `1MB`)";

    fn parse(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?.trim();
        let (number, unit) = split_unit(text);
        let factor = SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let bytes = factor.zip(number.parse::<usize>().ok()).and_then(|(factor, number)| number.checked_mul(factor));
        bytes.map(Self).ok_or_else(|| format!("{text:?} is no size such as 65536, 64KiB, 1MiB or 1MB"))
    }
}

/// Splits `64KiB` (or `64 KiB`, `1_000`) into digits and unit.
fn split_unit(text: &str) -> (String, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.replace('_', ""), unit.trim())
}

impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;

    fn parse(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) if text.is_empty() => Ok(None),
            raw => T::parse(raw).map(Some),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Value> Value for Vec<T> {
    const KIND: &'static str = "list, `a,b` or `[\"a\", \"b\"]`";

    fn parse(raw: &Raw) -> Result<Self, String> {
        let items: Vec<String> = match raw {
            Raw::List(items) => items.clone(),
            Raw::Text(text) => text.split(',').map(|item| item.trim().to_owned()).filter(|i| !i.is_empty()).collect(),
            Raw::Fraction(_) => vec![raw.text()?.to_owned()],
        };
        items.into_iter().map(|item| T::parse(&Raw::Text(item))).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}
