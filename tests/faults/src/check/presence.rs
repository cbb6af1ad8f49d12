//! Who is there, asked when nothing moves: answers equal the truth, and facts tell of those who left, once.

use std::collections::{BTreeMap, BTreeSet};

use super::{Report, Rule, Violation};
use crate::history::{History, Target};

pub(super) fn check(history: &History, report: &mut Report) {
    let end = history.end;
    let mut violation = |rule, target, what| {
        report.violations.push(Violation { rule, client: None, target, at: end, what });
    };
    for presence in &history.presence {
        if presence.answer != presence.truth {
            let what =
                format!("{}: the answer is {}, the truth {}", presence.question, presence.answer, presence.truth);
            violation(Rule::Presence, None, what);
        }
    }
    let gone: BTreeSet<_> = history.farewell.gone.iter().copied().collect();
    let mut offline: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    for (user, online, id) in &history.farewell.facts {
        let target = Some(Target::User(*user));
        if *online {
            violation(Rule::Facts, target, format!("online ({id}) while nobody came"));
        } else if !gone.contains(user) {
            violation(Rule::Facts, target, format!("offline ({id}) while it is connected"));
        } else {
            offline.entry(*user).or_default().insert(id);
        }
    }
    for user in gone {
        let ids = offline.get(&user).map_or(0, BTreeSet::len);
        if ids != 1 {
            let what = format!("left for good, and {ids} different facts say so");
            violation(Rule::Facts, Some(Target::User(user)), what);
        }
    }
}
