//! What clients send: always answered while the connection stands, heard if the answer was `ok`, once and in order.

use std::collections::HashMap;

use super::{Report, Rule, Violation};
use crate::history::{ClientNumber, Event, History, Life};

/// An answer is due after this: a client gives up a gateway that is silent for 13 s, frozen or not.
const ANSWER_MS: u64 = 16_000;
/// A fault may swallow what was on its way when it struck.
const UNDER_WAY_MS: u64 = 1_500;

/// One message on its way up.
struct Sending {
    at: u64,
    connection: u32,
    answered: Option<(u64, bool)>,
    /// When its connection ended.
    ended: Option<u64>,
}

pub(super) fn check(history: &History, report: &mut Report) {
    let sendings: Vec<_> = history.clients.iter().map(sendings).collect();
    let mut heard: HashMap<(ClientNumber, u32), u32> = HashMap::new();
    let mut last: HashMap<(u8, ClientNumber), u32> = HashMap::new();
    for one in &history.heard {
        let listeners = heard.entry((one.client, one.number)).or_default();
        if *listeners & (1 << one.listener) != 0 {
            let what = format!("listener {} heard {} twice", one.listener, one.number);
            violation(report, Rule::UpstreamTwiceOrLate, one.client, one.at, what);
        }
        *listeners |= 1 << one.listener;
        let before = last.insert((one.listener, one.client), one.number);
        let connection = |number: u32| {
            let sendings = sendings.get(one.client as usize)?;
            Some(sendings.get(&number)?.connection)
        };
        if let Some(before) = before.filter(|before| *before > one.number)
            && connection(before) == connection(one.number)
        {
            let what = format!("listener {} heard {} after {before}", one.listener, one.number);
            violation(report, Rule::UpstreamTwiceOrLate, one.client, one.at, what);
        }
    }
    for (client, sendings) in (0..).zip(&sendings) {
        let mut sendings: Vec<_> = sendings.iter().collect();
        sendings.sort_by_key(|(number, _)| **number);
        for (number, sending) in sendings {
            report.figures.upstream_sent += 1;
            match sending.answered {
                None => {
                    let until = sending.ended.unwrap_or(history.end);
                    if until.saturating_sub(sending.at) > ANSWER_MS && !history.is_stalled(sending.at, until) {
                        let what = format!("{number} was not answered while the connection stood, until {until}");
                        violation(report, Rule::UpstreamSilent, client, sending.at, what);
                    }
                }
                Some((_, false)) => report.figures.upstream_refused += 1,
                Some((at, true)) => {
                    let lost = !heard.contains_key(&(client, *number));
                    if lost && !history.is_lossy(sending.at, at + UNDER_WAY_MS) {
                        let what = format!("{number} was answered ok at {at}, and nobody heard it");
                        violation(report, Rule::UpstreamLost, client, sending.at, what);
                    }
                }
            }
        }
    }
}

fn sendings(life: &Life) -> HashMap<u32, Sending> {
    let mut sendings: HashMap<u32, Sending> = HashMap::new();
    let mut connection = 0;
    let mut waiting = Vec::new();
    for entry in &life.entries {
        match &entry.event {
            Event::Welcome { .. } => connection += 1,
            Event::Sending(number) => {
                waiting.push(*number);
                let sending = Sending { at: entry.at, connection, answered: None, ended: None };
                sendings.insert(*number, sending);
            }
            Event::Sent(number) | Event::NotSent(number, _) => {
                let fine = matches!(entry.event, Event::Sent(_));
                if let Some(sending) = sendings.get_mut(number) {
                    sending.answered = Some((entry.at, fine));
                }
                waiting.retain(|waiting| waiting != number);
            }
            Event::Ended(..) | Event::Dropped => {
                for number in waiting.drain(..) {
                    if let Some(sending) = sendings.get_mut(&number) {
                        sending.ended = Some(entry.at);
                    }
                }
            }
            _ => {}
        }
    }
    sendings
}

fn violation(report: &mut Report, rule: Rule, client: ClientNumber, at: u64, what: String) {
    report.violations.push(Violation { rule, client: Some(client), target: None, at, what });
}
