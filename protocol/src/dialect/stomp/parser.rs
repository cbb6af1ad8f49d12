//! The resumable parser of client frames.
//!
//! Message boundaries of the transport mean nothing to it: frames may be split at any byte or come many at once. Between
//! frames it holds no memory. Nothing is scanned twice, so that a client who sends single bytes costs no more than one
//! who does not.

use bytes::Bytes;

use super::escape;
use super::frame::{Command, Frame};
use super::version::Version;

/// Bounds of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Head, body and end mark together.
    pub frame_bytes_max: usize,
    /// Header lines.
    pub headers_max: usize,
    /// One header line.
    pub header_bytes_max: usize,
    /// Command and headers together.
    pub head_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame_bytes_max: 64 << 10, headers_max: 64, header_bytes_max: 16 << 10, head_bytes_max: 32 << 10 }
    }
}

/// Why bytes are no frame. Each ends the connection; the text may be shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Over one of the [`Limits`].
    #[error("frame too large")]
    TooLarge,
    /// The first line names no command of a client.
    #[error("unknown command")]
    UnknownCommand,
    /// A line without colon, a bare CR, a NUL in the head, an escape that 1.2 forbids, or text that is not UTF-8.
    #[error("malformed header")]
    MalformedHeader,
    /// The byte after `content-length` bytes is no NUL.
    #[error("body does not end where content-length says")]
    BadLength,
    /// Only SEND may have a body (1.1, 1.2).
    #[error("only SEND may have a body")]
    UnexpectedBody,
}

#[derive(Debug)]
struct Head {
    command: Command,
    headers: Vec<(String, String)>,
    body_start: usize,
    body_length: Option<usize>,
}

/// Turns bytes into frames.
#[derive(Debug)]
pub struct Parser {
    /// The version decides about escapes; 1.2's strictness until CONNECT has settled it is harmless, as CONNECT is
    /// never escaped.
    version: Version,
    limits: Limits,
    /// The start of an incomplete frame.
    buffer: Vec<u8>,
    /// How far `buffer` was searched for the end of the present part.
    scanned: usize,
    /// Where the present header line starts.
    line_start: usize,
    head: Option<Head>,
}

enum Step {
    /// More bytes are needed.
    Incomplete,
    /// A frame, and how many bytes it took.
    Frame(Frame, usize),
}

impl Parser {
    /// A parser at the start of a connection.
    pub const fn new(limits: Limits) -> Self {
        Self { version: Version::V1_2, limits, buffer: Vec::new(), scanned: 0, line_start: 0, head: None }
    }

    /// What CONNECT settled.
    pub const fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Other bounds, from the next frame on.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Bytes held of an incomplete frame.
    pub const fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Takes bytes and hands each frame that is complete to `on_frame`, which may change version and limits by what it
    /// returns: frames behind a CONNECT in the same input are read by the version it settled.
    ///
    /// # Errors
    /// The bytes are no frame. The parser is of no use afterwards.
    pub fn feed(&mut self, input: &[u8], mut on_frame: impl FnMut(Frame) -> Option<Version>) -> Result<(), ParseError> {
        if !self.buffer.is_empty() {
            self.buffer.extend_from_slice(input);
            let data = std::mem::take(&mut self.buffer);
            let taken = self.run(&data, &mut on_frame)?;
            if taken < data.len() {
                self.buffer = data;
                self.buffer.drain(..taken);
            }
            return Ok(());
        }
        let taken = self.run(input, &mut on_frame)?;
        self.buffer.extend_from_slice(input.get(taken..).unwrap_or_default());
        Ok(())
    }

    /// Reads frames off `data`; returns how many bytes are done with.
    fn run(&mut self, data: &[u8], on_frame: &mut impl FnMut(Frame) -> Option<Version>) -> Result<usize, ParseError> {
        let mut taken = 0;
        loop {
            let rest = data.get(taken..).unwrap_or_default();
            if self.scanned == 0 {
                let skipped = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r' | 0)).count();
                if skipped > 0 {
                    taken += skipped;
                    continue;
                }
            }
            if rest.is_empty() {
                return Ok(taken);
            }
            match self.step(rest)? {
                Step::Incomplete => return Ok(taken),
                Step::Frame(frame, length) => {
                    (self.scanned, self.line_start) = (0, 0);
                    taken += length;
                    if let Some(version) = on_frame(frame) {
                        self.version = version;
                    }
                }
            }
        }
    }

    fn step(&mut self, data: &[u8]) -> Result<Step, ParseError> {
        if self.head.is_none() && !self.scan_head(data)? {
            return Ok(Step::Incomplete);
        }
        let Some(head) = self.head.as_ref() else { return Ok(Step::Incomplete) };
        let body_end = match head.body_length {
            Some(length) => {
                let end = head.body_start + length;
                if end >= self.limits.frame_bytes_max {
                    return Err(ParseError::TooLarge);
                }
                match data.get(end) {
                    None => return self.incomplete(data),
                    Some(0) => end,
                    Some(_) => return Err(ParseError::BadLength),
                }
            }
            None => {
                let from = self.scanned.max(head.body_start);
                match memchr::memchr(0, data.get(from..).unwrap_or_default()) {
                    Some(at) => from + at,
                    None => return self.incomplete(data),
                }
            }
        };
        if body_end >= self.limits.frame_bytes_max {
            return Err(ParseError::TooLarge);
        }
        let Some(head) = self.head.take() else { return Ok(Step::Incomplete) };
        let mut body = data.get(head.body_start..body_end).unwrap_or_default();
        if head.command != Command::Send && !body.is_empty() {
            if self.version != Version::V1_0 {
                return Err(ParseError::UnexpectedBody);
            }
            body = &[];
        }
        let body = Bytes::copy_from_slice(body);
        Ok(Step::Frame(Frame { command: head.command, headers: head.headers, body }, body_end + 1))
    }

    const fn incomplete(&mut self, data: &[u8]) -> Result<Step, ParseError> {
        self.scanned = data.len();
        if data.len() >= self.limits.frame_bytes_max { Err(ParseError::TooLarge) } else { Ok(Step::Incomplete) }
    }

    /// Looks for the empty line that ends the head, line by line, and reads the head when it is there.
    fn scan_head(&mut self, data: &[u8]) -> Result<bool, ParseError> {
        loop {
            let unseen = data.get(self.scanned..).unwrap_or_default();
            let newline = memchr::memchr(b'\n', unseen).map(|at| self.scanned + at);
            let line_end = newline.unwrap_or(data.len());
            let line_max = if self.line_start == 0 { Command::BYTES_MAX } else { self.limits.header_bytes_max };
            if line_end - self.line_start > line_max {
                return Err(if self.line_start == 0 { ParseError::UnknownCommand } else { ParseError::TooLarge });
            }
            if line_end > self.limits.head_bytes_max {
                return Err(ParseError::TooLarge);
            }
            let Some(newline) = newline else {
                self.scanned = data.len();
                return Ok(false);
            };
            let line = data.get(self.line_start..newline).unwrap_or_default();
            let is_end = line.strip_suffix(b"\r").unwrap_or(line).is_empty();
            (self.scanned, self.line_start) = (newline + 1, newline + 1);
            if is_end {
                self.head = Some(self.read_head(data.get(..newline).unwrap_or_default(), newline + 1)?);
                return Ok(true);
            }
        }
    }

    fn read_head(&self, head: &[u8], body_start: usize) -> Result<Head, ParseError> {
        let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let command = lines.next().and_then(Command::parse).ok_or(ParseError::UnknownCommand)?;
        let mut headers = Vec::new();
        let mut body_length = None;
        for line in lines.take_while(|line| !line.is_empty()) {
            if headers.len() == self.limits.headers_max {
                return Err(ParseError::TooLarge);
            }
            let (name, value) = self.read_header(command, line)?;
            // One that is no number is treated as absent, as Spring does.
            if name == "content-length" && body_length.is_none() {
                body_length = value.trim().parse::<u32>().ok().and_then(|length| usize::try_from(length).ok());
            }
            headers.push((name, value));
        }
        Ok(Head { command, headers, body_start, body_length })
    }

    fn read_header(&self, command: Command, line: &[u8]) -> Result<(String, String), ParseError> {
        if memchr::memchr2(0, b'\r', line).is_some() {
            return Err(ParseError::MalformedHeader);
        }
        let line = simdutf8::basic::from_utf8(line).map_err(|_| ParseError::MalformedHeader)?;
        // At the first colon: clients send raw ones in values.
        let (name, value) = line.split_once(':').ok_or(ParseError::MalformedHeader)?;
        if command == Command::Connect {
            return Ok((name.to_owned(), value.to_owned()));
        }
        let decode = |field| escape::decode(self.version, field).ok_or(ParseError::MalformedHeader);
        Ok((decode(name)?, decode(value)?))
    }
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
