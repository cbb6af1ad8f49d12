//! The checker against a history made by hand: silent while all is well, and each defect found for what it is.

use super::*;
use crate::history::{
    Answer, Entry, Event, Farewell, Harm, Heard, Kind, Life, Name, Position, Presence, Publish, Receipt, Resumed,
    Window,
};
use crate::plant::Defect;

const ROOM: Target = Target::Room(0);
const CLIENTS: u32 = 6;

fn at(seq: u64) -> Option<Position> {
    Some(Position { epoch: "epoch".into(), seq })
}

fn resumed(since: Option<u64>, position: u64) -> Resumed {
    Resumed { since: since.and_then(at), position: at(position), recovered: since.map(|_| true) }
}

/// A client's life, being written.
#[derive(Default)]
struct Diary(Vec<Entry>);

impl Diary {
    fn note(&mut self, at: u64, event: Event) {
        self.0.push(Entry { at, event });
    }

    /// It connects and joins the room, with all of its own stream up to 0 and of the room up to `since`.
    fn comes(&mut self, when: u64, connects: bool, since: Option<u64>, position: u64) {
        if connects {
            let (connection, node, resumed) = ("c".to_owned(), "n".to_owned(), resumed(since.map(|_| 0), 0));
            self.note(when, Event::Opening("a".to_owned()));
            self.note(when, Event::Welcome { connection, node, resumed });
        }
        self.note(when, Event::Joining(0, since.and_then(at)));
        self.note(when, Event::Joined(0, resumed(since, position)));
    }

    fn sees(&mut self, when: u64, publish: &Publish) {
        let kept = if let Answer::Stored(seq) = publish.answer { at(seq) } else { None };
        self.note(when, Event::Seen { target: publish.target, name: publish.name, kept });
        if matches!(publish.target, Target::User(_)) {
            self.note(when, Event::Acked(publish.name));
        }
    }
}

/// What one client did: away from the room for a time, by losing its connection or by leaving.
fn life(user: u32, away: Option<(u64, u64)>, leaves: bool, publishes: &[Publish]) -> Life {
    let mut diary = Diary::default();
    let mine = |publish: &&Publish| publish.target == ROOM || publish.target == Target::User(user);
    let (gone, back) = away.unwrap_or((u64::MAX, u64::MAX));
    let seq = |publish: &Publish| if let Answer::Stored(seq) = publish.answer { Some(seq) } else { None };
    diary.comes(30, true, None, 0);
    for publish in publishes.iter().filter(mine).filter(|publish| publish.at < gone) {
        diary.sees(publish.at + 5, publish);
    }
    if away.is_some() {
        let before = publishes.iter().filter(|publish| publish.at < gone);
        let last = before.filter_map(seq).max().unwrap_or(0);
        let (first, second) = (Event::Leaving(0), Event::Left(0));
        if leaves {
            diary.note(gone, first);
            diary.note(gone, second);
        } else {
            diary.note(gone, Event::Dropped);
        }
        let missed = publishes.iter().filter(|publish| gone <= publish.at && publish.at < back);
        let missed: Vec<_> = missed.filter(|publish| seq(publish).is_some()).collect();
        diary.comes(back, !leaves, Some(last), last + missed.len() as u64);
        for publish in missed {
            diary.sees(back, publish);
        }
        for publish in publishes.iter().filter(mine).filter(|publish| publish.at >= back) {
            diary.sees(publish.at + 5, publish);
        }
    }
    for number in 0..5 {
        diary.note(52_000 + u64::from(number), Event::Sending(number));
        diary.note(52_010 + u64::from(number), Event::Sent(number));
    }
    diary.0.sort_by_key(|entry| entry.at);
    Life { user, entries: diary.0 }
}

fn publishes() -> Vec<Publish> {
    let mut publishes = Vec::new();
    let mut add = |at: u64, name: Name, target: Target, kind: Kind, answer: Answer| {
        publishes.push(Publish { name, target, kind, at, answered_at: at + 8, answer });
    };
    let receipt = |matched: u64, acked: Option<u64>| {
        Answer::Receipt(Receipt { matched, written: matched, acked, ..Receipt::default() })
    };
    for number in 0..90_u32 {
        let at = 1_000 + u64::from(number) * 500;
        add(at, Name { source: 4, number }, ROOM, Kind::Kept, Answer::Stored(u64::from(number) + 1));
        let away = (20_100..23_100).contains(&at) || (30_100..33_100).contains(&at);
        let answer = if away { Answer::NotAsked } else { receipt(u64::from(CLIENTS), None) };
        add(at + 100, Name { source: 0, number }, ROOM, Kind::Live, answer);
        add(at + 200, Name { source: 1, number }, Target::User(0), Kind::Live, receipt(1, Some(1)));
    }
    publishes
}

fn sound() -> History {
    let publishes = publishes();
    let away = |number: u32| match number {
        2 => (Some((20_000, 23_050)), false),
        3 => (Some((30_000, 33_050)), true),
        _ => (None, false),
    };
    let clients = (0..CLIENTS).map(|number| life(number, away(number).0, away(number).1, &publishes)).collect();
    let stored = publishes.iter().filter(|publish| publish.kind == Kind::Kept);
    let stored = stored.map(|publish| (u64::from(publish.name.number) + 1, publish.name)).collect();
    let heard = (0..CLIENTS).flat_map(|client| {
        (0..5).map(move |number| Heard { listener: 0, client, number, at: 52_005 + u64::from(number) })
    });
    let facts = [1, 3, 5].map(|user| (user, false, format!("fact {user}")));
    History {
        clients,
        publishes,
        stored: [(ROOM, stored)].into(),
        epoch: "epoch".into(),
        stored_max: 1000,
        windows: vec![Window { what: "a fault".to_owned(), harm: Harm::Lossy, from: 48_000, to: 49_000 }],
        heard: heard.collect(),
        presence: vec![Presence { question: "stats".to_owned(), answer: "6".to_owned(), truth: "6".to_owned() }],
        // Both listeners hear each fact.
        farewell: Farewell { gone: vec![1, 3, 5], facts: facts.iter().chain(&facts).cloned().collect() },
        end: 70_000,
        rest: 66_000,
    }
}

fn rules_broken(history: &History) -> Vec<Rule> {
    check(history).violations.iter().map(|violation| violation.rule).collect()
}

#[test]
fn a_sound_history_has_no_violation() {
    let report = check(&sound());

    assert!(report.violations.is_empty(), "{}", tell(&sound(), &report.violations));
    assert_eq!(report.figures.kept_seen, 90 * u64::from(CLIENTS));
    assert_eq!(report.figures.resumed, 3);
}

#[test]
fn each_planted_defect_is_found_for_what_it_is() {
    for defect in Defect::ALL {
        let mut history = sound();
        assert!(defect.plant(&mut history).is_some(), "no place for {defect:?}");

        let broken = rules_broken(&history);

        assert!(broken.contains(&defect.breaks()), "{defect:?}: {broken:?}");
    }
}

#[test]
fn a_story_tells_of_the_client_the_target_and_the_message() {
    let mut history = sound();
    Defect::DropKept.plant(&mut history).unwrap();

    let story = tell(&history, &check(&history).violations);

    assert!(story.contains("KeptMissing: 1 times"), "{story}");
    assert!(story.contains("room r/0") && story.contains("published Kept"), "{story}");
    assert!(story.lines().count() < 70, "{story}");
}

/// The one loss of a live message, in a history where only that is planted.
fn with_a_loss() -> (History, u64) {
    let mut history = sound();
    let is = |entry: &Entry| matches!(entry.event, Event::Seen { name: Name { source: 0, number: 50 }, .. });
    let index = history.clients[1].entries.iter().position(is).unwrap();
    let at = history.clients[1].entries.remove(index).at;
    // Without a receipt, which would know of it too.
    for publish in &mut history.publishes {
        if publish.name == (Name { source: 0, number: 50 }) {
            publish.answer = Answer::NotAsked;
        }
    }
    (history, at)
}

#[test]
fn a_live_message_may_be_lost_in_a_fault_and_nowhere_else() {
    let (mut history, at) = with_a_loss();
    assert_eq!(rules_broken(&history), [Rule::LiveLost]);

    for (harm, broken) in [(Harm::Lossy, 0), (Harm::Orderly, 1), (Harm::None, 1)] {
        history.windows.push(Window { what: "one".to_owned(), harm, from: at, to: at + 10 });

        assert_eq!(rules_broken(&history).len(), broken, "{harm:?}");
        history.windows.pop();
    }
}

#[test]
fn a_live_message_may_be_lost_where_a_gap_tells_of_it() {
    let (mut history, at) = with_a_loss();
    let entries = &mut history.clients[1].entries;
    let index = entries.iter().position(|entry| entry.at > at).unwrap();

    for (gap, lost) in [(None, false), (Some(ROOM), false), (Some(Target::User(1)), true)] {
        history.clients[1].entries.insert(index, Entry { at: at + 50, event: Event::Gap(gap) });

        assert_eq!(rules_broken(&history).contains(&Rule::LiveLost), lost, "{gap:?}");
        history.clients[1].entries.remove(index);
    }
}

#[test]
fn a_double_is_one_in_an_orderly_change_too() {
    let mut history = sound();
    Defect::DoubleLive.plant(&mut history).unwrap();
    history.windows.push(Window { what: "a change".to_owned(), harm: Harm::Orderly, from: 0, to: 70_000 });

    assert_eq!(rules_broken(&history), [Rule::LiveTwice]);
}

#[test]
fn recovered_false_is_honest_where_the_epoch_changed_or_the_limit_cut() {
    let told = |since: Option<Position>| {
        let mut history = sound();
        for entry in &mut history.clients[2].entries {
            if let Event::Joined(_, resumed) = &mut entry.event
                && resumed.recovered.is_some()
            {
                (resumed.recovered, resumed.since) = (Some(false), since.clone());
            }
        }
        history
    };
    assert!(rules_broken(&told(at(38))).contains(&Rule::FalseUnrecovered));

    let other = Some(Position { epoch: "another".into(), seq: 38 });
    assert!(!rules_broken(&told(other)).contains(&Rule::FalseUnrecovered));
    let cut = History { stored_max: 40, ..told(at(38)) };
    assert!(!rules_broken(&cut).contains(&Rule::FalseUnrecovered));
}
