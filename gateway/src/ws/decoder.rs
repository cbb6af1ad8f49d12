//! A client's bytes become messages, in place where a message lies whole in the buffer.
//!
//! Between calls a decoder holds memory only while a frame or a message is incomplete, and never more than about
//! twice what has been received of it: a length that is merely claimed is checked against the limit, not allocated.

use std::mem;

use fastwebsockets::{CloseCode, OpCode, unmask};

use super::Fault;
use super::head::{self, CONTROL_BYTES_MAX, HEAD_BYTES_MAX, Head, Parsed};

/// What a client may send as one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message, all fragments together.
    pub message_bytes_max: usize,
    /// Most frames in one message.
    pub fragments_max: u32,
}

/// One thing a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// Wants a pong with the same payload.
    Ping(&'a [u8]),
    /// The answer to a ping, or unasked-for.
    Pong(&'a [u8]),
    /// The client closes. What it sends afterwards means nothing: the decoder must not be called again.
    Close {
        /// The code, checked; `None` where the frame is empty.
        code: Option<u16>,
        /// The reason.
        reason: &'a str,
    },
}

/// Where in a stream of frames a connection is. After an error it must not be called again.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

/// What is incomplete.
#[derive(Debug)]
struct Partial {
    /// An incomplete head, or a control frame from its head on.
    stash: [u8; HEAD_BYTES_MAX + CONTROL_BYTES_MAX],
    stash_bytes: usize,
    /// The data frame whose payload is arriving.
    body: Option<Body>,
    /// The message of which frames have arrived.
    message: Option<Message>,
    /// The message, or the control frame in the stash, was handed out by the last call.
    spent: Spent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spent {
    Nothing,
    Message,
    Stash,
}

/// The rest of a data frame.
#[derive(Debug, Clone, Copy)]
struct Body {
    /// Turned so that its first byte is for the next byte of payload.
    mask: [u8; 4],
    left: u64,
    fin: bool,
}

#[derive(Debug)]
struct Message {
    text: bool,
    bytes: Vec<u8>,
    /// How much of a text's front is known to be UTF-8; ends between characters.
    checked: usize,
    fragments: u32,
}

/// What one step found.
enum Step<'b> {
    /// The buffer is used up.
    NeedsMore,
    /// Something was consumed.
    Again,
    /// A whole message in the buffer.
    InPlace { text: bool, payload: &'b [u8] },
    /// A whole message in `partial`.
    Assembled,
    /// A control frame in the buffer.
    Control { opcode: OpCode, payload: &'b [u8] },
    /// A control frame in the stash.
    Stashed(Head),
}

impl Decoder {
    /// Takes the next item from the front of `input`, which it unmasks in place. `None` once all of it is used up.
    ///
    /// Call it until it says `None`: only then does the decoder hold no more than it must.
    ///
    /// # Errors
    /// The first thing that is wrong, as soon as its first byte is there, be it in the middle of a frame.
    pub fn next<'a, 'b: 'a>(
        &'a mut self,
        limits: &Limits,
        input: &mut &'b mut [u8],
    ) -> Result<Option<Item<'a>>, Fault> {
        self.release();
        let step = loop {
            match self.step(limits, input)? {
                Step::Again => {}
                Step::NeedsMore => return Ok(None),
                step @ (Step::InPlace { .. } | Step::Assembled | Step::Control { .. } | Step::Stashed(_)) => {
                    break step;
                }
            }
        };
        match step {
            Step::InPlace { text, payload } => item(text, payload).map(Some),
            Step::Control { opcode, payload } => control(opcode, payload).map(Some),
            Step::Assembled => {
                let partial = self.partial();
                partial.spent = Spent::Message;
                match &partial.message {
                    Some(message) => item(message.text, &message.bytes).map(Some),
                    None => Ok(None),
                }
            }
            Step::Stashed(head) => {
                let partial = self.partial();
                partial.spent = Spent::Stash;
                let payload = partial.stash.get(head.head_bytes..partial.stash_bytes).unwrap_or_default();
                control(head.opcode, payload).map(Some)
            }
            Step::Again | Step::NeedsMore => Ok(None),
        }
    }

    /// Whether a frame or a message is incomplete.
    pub fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// Bytes set aside for the message that is arriving.
    #[cfg(test)]
    pub(super) fn received_capacity(&self) -> usize {
        let message = self.partial.as_ref().and_then(|partial| partial.message.as_ref());
        message.map_or(0, |message| message.bytes.capacity())
    }

    /// Forgets what the last call handed out, and the memory with it if nothing else is incomplete.
    fn release(&mut self) {
        let Some(partial) = &mut self.partial else { return };
        match mem::replace(&mut partial.spent, Spent::Nothing) {
            Spent::Nothing => {}
            Spent::Message => partial.message = None,
            Spent::Stash => partial.stash_bytes = 0,
        }
        if partial.stash_bytes == 0 && partial.body.is_none() && partial.message.is_none() {
            self.partial = None;
        }
    }

    fn partial(&mut self) -> &mut Partial {
        self.partial.get_or_insert_with(|| {
            Box::new(Partial {
                stash: [0; HEAD_BYTES_MAX + CONTROL_BYTES_MAX],
                stash_bytes: 0,
                body: None,
                message: None,
                spent: Spent::Nothing,
            })
        })
    }

    fn step<'b>(&mut self, limits: &Limits, input: &mut &'b mut [u8]) -> Result<Step<'b>, Fault> {
        if let Some(partial) = &mut self.partial {
            if let Some(body) = partial.body {
                return partial.absorb(body, input);
            }
            if partial.stash_bytes > 0 {
                return self.step_from_stash(limits, input);
            }
        }
        if input.is_empty() {
            return Ok(Step::NeedsMore);
        }
        match head::parse(input)? {
            Parsed::Needs(_) => {
                let rest = input.len();
                self.partial().stash_from(input, rest);
                Ok(Step::NeedsMore)
            }
            Parsed::Whole(head) if head::is_control(head.opcode) => {
                let frame_bytes = head.head_bytes + control_bytes(&head);
                if input.len() < frame_bytes {
                    let rest = input.len();
                    self.partial().stash_from(input, rest);
                    return Ok(Step::NeedsMore);
                }
                let payload = take(input, frame_bytes).get_mut(head.head_bytes..).unwrap_or_default();
                unmask(payload, head.mask);
                Ok(Step::Control { opcode: head.opcode, payload })
            }
            Parsed::Whole(head) => {
                take(input, head.head_bytes);
                self.begin(limits, head, input)
            }
        }
    }

    /// Goes on with a head or a control frame of which the first bytes came earlier.
    fn step_from_stash<'b>(&mut self, limits: &Limits, input: &mut &'b mut [u8]) -> Result<Step<'b>, Fault> {
        let partial = self.partial();
        let stashed = partial.stash.get(..partial.stash_bytes).unwrap_or_default();
        let (wanted, head) = match head::parse(stashed)? {
            Parsed::Needs(bytes) => (bytes, None),
            Parsed::Whole(head) if head::is_control(head.opcode) => {
                (head.head_bytes + control_bytes(&head), Some(head))
            }
            Parsed::Whole(head) => {
                partial.stash_bytes = 0;
                return self.begin(limits, head, input);
            }
        };
        if partial.stash_bytes < wanted {
            if input.is_empty() {
                return Ok(Step::NeedsMore);
            }
            partial.stash_from(input, wanted - partial.stash_bytes);
            return Ok(Step::Again);
        }
        let Some(head) = head else { return Ok(Step::NeedsMore) };
        unmask(partial.stash.get_mut(head.head_bytes..wanted).unwrap_or_default(), head.mask);
        Ok(Step::Stashed(head))
    }

    /// A data frame begins; its head has been consumed.
    fn begin<'b>(&mut self, limits: &Limits, head: Head, input: &mut &'b mut [u8]) -> Result<Step<'b>, Fault> {
        let message = self.partial.as_ref().and_then(|partial| partial.message.as_ref());
        let (bytes, fragments) = match (message, head.opcode) {
            (None, OpCode::Continuation) => return Err(Fault::StrayContinuation),
            (Some(message), OpCode::Continuation) => (message.bytes.len(), message.fragments),
            (Some(_), _) => return Err(Fault::Interleaved),
            (None, _) => (0, 0),
        };
        let room = limits.message_bytes_max.saturating_sub(bytes);
        if usize::try_from(head.payload_bytes).map_or(true, |claimed| claimed > room) {
            return Err(Fault::MessageTooBig);
        }
        if fragments >= limits.fragments_max {
            return Err(Fault::TooManyFragments);
        }

        let text = head.opcode == OpCode::Text;
        if message.is_none() && head.fin {
            let payload_bytes = usize::try_from(head.payload_bytes).map_err(|_| Fault::MessageTooBig)?;
            if payload_bytes <= input.len() {
                let payload = take(input, payload_bytes);
                unmask(payload, head.mask);
                self.release();
                return Ok(Step::InPlace { text, payload });
            }
        }
        let partial = self.partial();
        let body = Body { mask: head.mask, left: head.payload_bytes, fin: head.fin };
        partial.message.get_or_insert(Message { text, bytes: Vec::new(), checked: 0, fragments: 0 }).fragments += 1;
        partial.body = Some(body);
        Ok(Step::Again)
    }
}

impl Partial {
    /// Moves up to `bytes` from the input to the stash; the caller knows that they fit.
    fn stash_from(&mut self, input: &mut &mut [u8], bytes: usize) {
        let bytes = bytes.min(input.len());
        let taken = take(input, bytes);
        if let Some(room) = self.stash.get_mut(self.stash_bytes..self.stash_bytes + bytes) {
            room.copy_from_slice(taken);
            self.stash_bytes += bytes;
        }
    }

    /// Takes what is there of a data frame's payload.
    fn absorb<'b>(&mut self, body: Body, input: &mut &'b mut [u8]) -> Result<Step<'b>, Fault> {
        let Some(message) = &mut self.message else { return Ok(Step::NeedsMore) };
        let bytes = usize::try_from(body.left).map_or(input.len(), |left| left.min(input.len()));
        let left = body.left - bytes as u64;
        if bytes > 0 {
            let chunk = take(input, bytes);
            unmask(chunk, body.mask);
            message.append(chunk, left)?;
        }
        if left > 0 {
            let mut mask = body.mask;
            mask.rotate_left(bytes % 4);
            self.body = Some(Body { mask, left, fin: body.fin });
            return Ok(Step::NeedsMore);
        }
        self.body = None;
        if !body.fin {
            return Ok(Step::Again);
        }
        if message.text && message.checked < message.bytes.len() {
            return Err(Fault::InvalidUtf8);
        }
        Ok(Step::Assembled)
    }
}

impl Message {
    /// Adds a piece; `left` is what its frame still claims to bring.
    fn append(&mut self, chunk: &[u8], left: u64) -> Result<(), Fault> {
        let received = self.bytes.len() + chunk.len();
        if received > self.bytes.capacity() {
            // Doubling keeps the copying linear; the frame's own end bounds it where that is nearer.
            let ahead = usize::try_from(left).map_or(received, |left| left.min(received));
            self.bytes.reserve_exact(chunk.len() + ahead);
        }
        self.bytes.extend_from_slice(chunk);
        if !self.text {
            return Ok(());
        }
        let unchecked = self.bytes.get(self.checked..).unwrap_or_default();
        match simdutf8::compat::from_utf8(unchecked) {
            Ok(_) => self.checked = self.bytes.len(),
            // An incomplete character at the end may yet be completed.
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Fault::InvalidUtf8),
        }
        Ok(())
    }
}

/// Splits the front off.
fn take<'b>(input: &mut &'b mut [u8], bytes: usize) -> &'b mut [u8] {
    let (front, rest) = mem::take(input).split_at_mut(bytes);
    *input = rest;
    front
}

/// At most 125, which the head was checked for.
fn control_bytes(head: &Head) -> usize {
    usize::try_from(head.payload_bytes).map_or(CONTROL_BYTES_MAX, |bytes| bytes.min(CONTROL_BYTES_MAX))
}

fn item(text: bool, payload: &[u8]) -> Result<Item<'_>, Fault> {
    if !text {
        return Ok(Item::Binary(payload));
    }
    simdutf8::basic::from_utf8(payload).map(Item::Text).map_err(|_| Fault::InvalidUtf8)
}

fn control(opcode: OpCode, payload: &[u8]) -> Result<Item<'_>, Fault> {
    match opcode {
        OpCode::Ping => Ok(Item::Ping(payload)),
        OpCode::Pong => Ok(Item::Pong(payload)),
        OpCode::Close => close(payload),
        OpCode::Continuation | OpCode::Text | OpCode::Binary => Err(Fault::Opcode(opcode as u8)),
    }
}

fn close(payload: &[u8]) -> Result<Item<'_>, Fault> {
    let Some((&code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(Item::Close { code: None, reason: "" }) } else { Err(Fault::CloseTooShort) };
    };
    let code = u16::from_be_bytes(code);
    // 1014 (bad gateway) is registered with IANA since RFC 6455; fastwebsockets does not know it yet.
    if code != 1014 && !CloseCode::from(code).is_allowed() {
        return Err(Fault::CloseCode(code));
    }
    let reason = simdutf8::basic::from_utf8(reason).map_err(|_| Fault::InvalidUtf8)?;
    Ok(Item::Close { code: Some(code), reason })
}
