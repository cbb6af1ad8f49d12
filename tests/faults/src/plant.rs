//! Defects, planted in a recorded history: the proof that the checker would see them. Each is the smallest there is of its
//! kind: one delivery, one number, one fact.

use std::sync::Arc;

use crate::check::Rule;
use crate::check::spans::Members;
use crate::history::{Answer, Entry, Event, Harm, History, Kind, Name, Target};

/// A kind of defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// A client did not get a kept message.
    DropKept,
    /// It got it twice.
    DoubleKept,
    /// It got it after the next one.
    SwapKept,
    /// It got another one in its place.
    ForgeKept,
    /// It was told that all is lost, and it was not.
    FalseUnrecovered,
    /// The stream forgot what it had acknowledged.
    ForgetStored,
    /// A client did not get a live message, in calm, untold.
    LoseLive,
    /// It got it twice.
    DoubleLive,
    /// It got it after the next one of its sender.
    SwapLive,
    /// It got a message of a room that it had left.
    Uninvited,
    /// A receipt counts a delivery that did not happen.
    FalseReceipt,
    /// A receipt forgets a member.
    ForgetMember,
    /// A receipt counts an acknowledgement that nobody gave.
    FalseAcked,
    /// No receipt came.
    NoReceipt,
    /// A send upstream was not answered.
    SilentUpstream,
    /// It was answered `ok` and not heard.
    LoseUpstream,
    /// It was heard twice.
    DoubleUpstream,
    /// Somebody is said to be there who is not.
    PhantomPresence,
    /// Nobody said that a user left.
    ForgetOffline,
    /// A user was said to have left who had not.
    PhantomOffline,
    /// A client never came back.
    Strand,
}

impl Defect {
    /// All there are.
    pub const ALL: &'static [Self] = &[
        Self::DropKept,
        Self::DoubleKept,
        Self::SwapKept,
        Self::ForgeKept,
        Self::FalseUnrecovered,
        Self::ForgetStored,
        Self::LoseLive,
        Self::DoubleLive,
        Self::SwapLive,
        Self::Uninvited,
        Self::FalseReceipt,
        Self::ForgetMember,
        Self::FalseAcked,
        Self::NoReceipt,
        Self::SilentUpstream,
        Self::LoseUpstream,
        Self::DoubleUpstream,
        Self::PhantomPresence,
        Self::ForgetOffline,
        Self::PhantomOffline,
        Self::Strand,
    ];

    /// The rule that it breaks.
    pub const fn breaks(self) -> Rule {
        match self {
            Self::DropKept => Rule::KeptMissing,
            Self::DoubleKept | Self::SwapKept => Rule::KeptTwiceOrLate,
            Self::ForgeKept => Rule::KeptUnknown,
            Self::FalseUnrecovered => Rule::FalseUnrecovered,
            Self::ForgetStored => Rule::StoreLost,
            Self::LoseLive => Rule::LiveLost,
            Self::DoubleLive => Rule::LiveTwice,
            Self::SwapLive => Rule::LiveOrder,
            Self::Uninvited => Rule::Uninvited,
            Self::FalseReceipt | Self::FalseAcked => Rule::ReceiptClaims,
            Self::ForgetMember => Rule::ReceiptMisses,
            Self::NoReceipt => Rule::ReceiptNone,
            Self::SilentUpstream => Rule::UpstreamSilent,
            Self::LoseUpstream => Rule::UpstreamLost,
            Self::DoubleUpstream => Rule::UpstreamTwiceOrLate,
            Self::PhantomPresence => Rule::Presence,
            Self::ForgetOffline | Self::PhantomOffline => Rule::Facts,
            Self::Strand => Rule::Stranded,
        }
    }

    /// Plants it; `None` if the history has no place for it.
    pub fn plant(self, history: &mut History) -> Option<()> {
        match self {
            Self::DropKept | Self::DoubleKept | Self::SwapKept | Self::ForgeKept => kept(self, history),
            Self::LoseLive | Self::DoubleLive | Self::SwapLive => live(self, history),
            Self::FalseReceipt | Self::ForgetMember | Self::FalseAcked | Self::NoReceipt => receipt(self, history),
            Self::SilentUpstream | Self::LoseUpstream | Self::DoubleUpstream => upstream(self, history),
            Self::FalseUnrecovered => unrecovered(history),
            Self::ForgetStored => {
                let stored = history.publishes.iter().find(|publish| matches!(publish.answer, Answer::Stored(_)))?;
                let (target, name) = (stored.target, stored.name);
                history.stored.get_mut(&target)?.retain(|(_, stored)| *stored != name);
                Some(())
            }
            Self::Uninvited => uninvited(history),
            Self::PhantomPresence => {
                history.presence.last_mut()?.answer.push_str(",one more");
                Some(())
            }
            Self::ForgetOffline => {
                let user = *history.farewell.gone.first()?;
                history.farewell.facts.retain(|(of, _, _)| *of != user);
                Some(())
            }
            Self::PhantomOffline => {
                let stays = |life: &&crate::history::Life| !history.farewell.gone.contains(&life.user);
                let user = history.clients.iter().find(stays)?.user;
                history.farewell.facts.push((user, false, "phantom".to_owned()));
                Some(())
            }
            Self::Strand => {
                let (rest, life) = (history.rest, history.clients.first_mut()?);
                life.entries.retain(|entry| entry.at < rest);
                life.entries.push(Entry { at: rest.saturating_sub(1), event: Event::Dropped });
                Some(())
            }
        }
    }
}

/// Calm around, so that no fault excuses anything.
fn calm(history: &History, at: u64) -> bool {
    history.trouble(at.saturating_sub(2_000), at + 2_500).all(|window| window.harm == Harm::None)
}

/// Two deliveries one after the other on one connection, with the same sender and target where `live`.
fn pair(history: &History, members: &Members, live: bool) -> Option<(usize, usize, usize)> {
    for (number, life) in history.clients.iter().enumerate() {
        let mut last: Option<(usize, Target, Name)> = None;
        for (index, entry) in life.entries.iter().enumerate() {
            match &entry.event {
                Event::Seen { target, name, kept } if kept.is_none() == live => {
                    // Not the closing messages: nothing comes after them that would show a loss before them.
                    if let Some((before, of, by)) = last
                        && of == *target
                        && (!live || by.source == name.source)
                        && calm(history, life.entries[before].at)
                        && members.clients[number].stays(
                            of,
                            life.entries[before].at.saturating_sub(100),
                            entry.at + 5_000,
                        )
                        && !members.clients[number].told(of, entry.at.saturating_sub(3_000), entry.at + 16_000)
                    {
                        return Some((number, before, index));
                    }
                    last = Some((index, *target, *name));
                }
                Event::Seen { .. } => {}
                Event::Gap(_) | Event::Ended(..) | Event::Dropped | Event::Opening(_) => last = None,
                _ => {}
            }
        }
    }
    None
}

fn kept(defect: Defect, history: &mut History) -> Option<()> {
    let members = Members::of(history);
    let (client, first, second) = pair(history, &members, false)?;
    let entries = &mut history.clients[client].entries;
    match defect {
        Defect::DropKept => drop(entries.remove(first)),
        Defect::DoubleKept => entries.insert(second, entries[first].clone()),
        Defect::SwapKept => swap(entries, first, second),
        _ => {
            if let Event::Seen { name, .. } = &mut entries[first].event {
                name.number += 1;
            }
        }
    }
    Some(())
}

fn live(defect: Defect, history: &mut History) -> Option<()> {
    let members = Members::of(history);
    let (client, first, second) = pair(history, &members, true)?;
    let entries = &mut history.clients[client].entries;
    match defect {
        Defect::LoseLive => drop(entries.remove(first)),
        Defect::DoubleLive => entries.insert(second, entries[first].clone()),
        _ => swap(entries, first, second),
    }
    Some(())
}

fn swap(entries: &mut [Entry], first: usize, second: usize) {
    let event = entries[first].event.clone();
    entries[first].event = std::mem::replace(&mut entries[second].event, event);
}

fn unrecovered(history: &mut History) -> Option<()> {
    let entries = history.clients.iter_mut().flat_map(|life| &mut life.entries);
    for entry in entries {
        if let Event::Joined(_, resumed) | Event::Welcome { resumed, .. } = &mut entry.event
            && resumed.recovered == Some(true)
        {
            resumed.recovered = Some(false);
            return Some(());
        }
    }
    None
}

fn uninvited(history: &mut History) -> Option<()> {
    for life in &mut history.clients {
        let left = life.entries.iter().position(|entry| matches!(entry.event, Event::Left(_)));
        if let Some(left) = left
            && let Event::Left(room) = life.entries[left].event
        {
            let (at, target) = (life.entries[left].at + 1, Target::Room(room));
            let event = Event::Seen { target, name: Name { source: 0, number: u32::MAX }, kept: None };
            life.entries.insert(left + 1, Entry { at, event });
            return Some(());
        }
    }
    None
}

fn receipt(defect: Defect, history: &mut History) -> Option<()> {
    let members = Members::of(history);
    let (rest, snapshot) = (history.rest, history.clone());
    for publish in &mut history.publishes {
        let (at, target, name) = (publish.at, publish.target, publish.name);
        let Answer::Receipt(receipt) = &mut publish.answer else { continue };
        let all = members.of_target(target);
        // All of those who may count are there for sure.
        let (mut stays, mut possible) = (Vec::new(), 0);
        for (number, member) in all {
            possible += member.possible(target, at, publish.answered_at);
            if member.stays(target, at, (at + 8_000).min(rest)) {
                stays.push(number);
            }
        }
        let fits = !stays.is_empty() && possible == stays.len() as u64 && calm(&snapshot, at);
        if !fits || publish.kind == Kind::Kept || receipt.matched != possible {
            continue;
        }
        match defect {
            Defect::ForgetMember => receipt.matched -= 1,
            Defect::FalseAcked if receipt.acked.is_some() => receipt.acked = Some(possible + 1),
            Defect::FalseAcked => continue,
            Defect::NoReceipt => publish.answer = Answer::None("planted".to_owned()),
            _ => {
                let life = &mut history.clients[*stays.first()? as usize];
                let is = |event: &Event| matches!(event, Event::Seen { target: of, name: seen, .. } if *of == target && *seen == name);
                life.entries.retain(|entry| !is(&entry.event));
            }
        }
        return Some(());
    }
    None
}

fn upstream(defect: Defect, history: &mut History) -> Option<()> {
    let end = history.end;
    for number in 0..history.clients.len() {
        let entries = &history.clients[number].entries;
        for (index, entry) in entries.iter().enumerate() {
            let Event::Sent(sent) = entry.event else { continue };
            let later = |entry: &&Entry| matches!(entry.event, Event::Ended(..) | Event::Dropped);
            let until = entries[index..].iter().find(later).map_or(end, |entry| entry.at);
            if until < entry.at + 17_000 || !calm(history, entry.at) || history.is_stalled(entry.at, until) {
                continue;
            }
            let client = u32::try_from(number).ok()?;
            match defect {
                Defect::SilentUpstream => drop(history.clients[number].entries.remove(index)),
                Defect::LoseUpstream => {
                    history.heard.retain(|heard| heard.client != client || heard.number != sent);
                }
                _ => {
                    let heard = history.heard.iter().find(|heard| heard.client == client && heard.number == sent)?;
                    let heard = *heard;
                    history.heard.push(heard);
                }
            }
            return Some(());
        }
    }
    None
}

/// An epoch for histories made by hand.
pub fn epoch() -> Arc<str> {
    Arc::from("epoch")
}
