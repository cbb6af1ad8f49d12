//! A receiving request's side of a session: it asks for pieces, wherever the session is, and writes them.
//!
//! Dropped before its end, it says so to the session's node: then the client is gone.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_daemon::random;
use holdfast_protocol::close::Close;
use holdfast_protocol::id::NodeId;
use holdfast_protocol::wire::{Caller, Exchange, ExchangeAsk, Exchanged};
use tokio::sync::mpsc;

use super::desk::{Desk, Lost};
use super::form::Form;

/// What is said of receivers that are gone: the node, and the exchange.
pub(super) type Leaving = mpsc::Sender<(NodeId, Exchange)>;

/// A session, and who asks for it.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Its name among the nodes.
    pub session: Arc<str>,
    /// Who asks.
    pub caller: Caller,
    /// The node that has it, where the name says so.
    pub node: Option<NodeId>,
}

/// Why a request comes to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// No such session, or not this client's.
    Unknown,
    /// Another request receives already.
    Taken,
    /// Its node is gone.
    Node,
    /// Nobody can tell.
    Unavailable,
}

/// A receiving request under way.
#[derive(Debug)]
pub struct Transfer {
    desk: Arc<Desk>,
    leaving: Leaving,
    node: NodeId,
    session: Arc<str>,
    caller: Caller,
    form: Form,
    receiver: u64,
    have: u64,
    /// The first piece.
    first: Option<Bytes>,
    over: bool,
}

impl Transfer {
    /// Begins to receive, at whichever node has the session.
    pub(super) async fn begin(
        desk: &Arc<Desk>,
        leaving: &Leaving,
        opening: &Opening,
        form: Form,
    ) -> Result<Self, Missing> {
        let mut transfer = Self {
            desk: Arc::clone(desk),
            leaving: leaving.clone(),
            node: opening.node.unwrap_or(desk.node()),
            session: Arc::clone(&opening.session),
            caller: opening.caller.clone(),
            form,
            receiver: random::number(),
            have: 0,
            first: None,
            over: false,
        };
        let mut result = transfer.attach().await;
        if result == Err(Missing::Unknown) && opening.node.is_none() {
            // Not here. Where it was may be out of date: then a second look tells.
            for _ in 0..2 {
                let located = desk.locate(&opening.session).await;
                let Some(node) = located.map_err(|_| Missing::Unavailable).inspect_err(|_| transfer.over = true)?
                else {
                    break;
                };
                transfer.node = node;
                result = transfer.attach().await;
                if !matches!(result, Err(Missing::Unknown | Missing::Node)) {
                    break;
                }
                desk.forget(&opening.session);
            }
        }
        transfer.over |= result.is_err();
        result.map(|()| transfer)
    }

    async fn attach(&mut self) -> Result<(), Missing> {
        match self.ask().await {
            Ok(Exchanged::Piece { number, bytes, end }) => {
                (self.have, self.over, self.first) = (number, end, Some(bytes));
                Ok(())
            }
            Ok(Exchanged::Taken) => Err(Missing::Taken),
            Ok(_) => Err(Missing::Unknown),
            Err(Lost::Node) => Err(Missing::Node),
            Err(Lost::Bus | Lost::TooBig) => Err(Missing::Unavailable),
        }
    }

    async fn ask(&self) -> Result<Exchanged, Lost> {
        let ask = ExchangeAsk::Receive { receiver: self.receiver, form: self.form.code(), have: self.have };
        self.desk.ask(self.node, self.exchange(ask)).await
    }

    fn exchange(&self, ask: ExchangeAsk) -> Exchange {
        Exchange { session: (&*self.session).into(), caller: self.caller.clone(), ask }
    }

    /// The next bytes to write; `None` at the end. Not cancel safe: drop the transfer instead.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Some(first);
        }
        while !self.over {
            match self.ask().await {
                Ok(Exchanged::Piece { number, bytes, end }) => {
                    self.over = end;
                    // One that was asked for twice.
                    let fresh = number > self.have;
                    self.have = self.have.max(number);
                    if fresh && !bytes.is_empty() {
                        return Some(bytes);
                    }
                }
                Ok(_) => {
                    self.over = true;
                    return Some(self.form.farewell(1002, "Connection interrupted"));
                }
                Err(_) => {
                    self.over = true;
                    self.desk.forget(&self.session);
                    return Some(self.form.farewell(Close::Drain.code(), "Service restart"));
                }
            }
        }
        None
    }

    /// All that an answer that ends by itself has.
    pub async fn whole(mut self) -> Bytes {
        let Some(first) = self.next().await else { return Bytes::new() };
        let Some(second) = self.next().await else { return first };
        let mut all = first.to_vec();
        all.extend_from_slice(&second);
        while let Some(more) = self.next().await {
            all.extend_from_slice(&more);
        }
        all.into()
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if !self.over {
            let exchange = self.exchange(ExchangeAsk::Leave { receiver: self.receiver });
            // With no place left for the word, the session finds out by the silence.
            drop(self.leaving.try_send((self.node, exchange)));
        }
    }
}

/// Hands a session what its client sent, at whichever node it is.
pub(super) async fn send(desk: &Desk, opening: &Opening, body: Bytes) -> Result<Exchanged, Missing> {
    let exchange = || Exchange {
        session: (&*opening.session).into(),
        caller: opening.caller.clone(),
        ask: ExchangeAsk::Send { body: body.clone() },
    };
    let ask = async |node| match desk.ask(node, exchange()).await {
        Ok(answer) => Ok(answer),
        Err(Lost::Node) => Err(Missing::Node),
        Err(Lost::TooBig) => Ok(Exchanged::TooBig),
        Err(Lost::Bus) => Err(Missing::Unavailable),
    };
    let mut answer = ask(opening.node.unwrap_or(desk.node())).await?;
    if answer == Exchanged::Unknown && opening.node.is_none() {
        for _ in 0..2 {
            let Some(node) = desk.locate(&opening.session).await.map_err(|_| Missing::Unavailable)? else { break };
            match ask(node).await {
                Ok(Exchanged::Unknown) | Err(Missing::Node) => desk.forget(&opening.session),
                // Heard or not: asking again could say it twice.
                other => {
                    answer = other?;
                    break;
                }
            }
        }
    }
    Ok(answer)
}
