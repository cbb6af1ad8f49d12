//! The internal format, byte for byte: gateways and routers of one version must agree on it, and a change that nobody
//! meant must not pass because both sides share the code.
//!
//! Each file in `golden/` is one message as hex, 32 bytes to a line. A change that is meant raises
//! [`holdfast_protocol::wire::VERSION`] and replaces the files.

use std::path::Path;

use bytes::Bytes;
use holdfast_protocol::id::{ConnectionId, NodeId};
use holdfast_protocol::limits::PARTITIONS;
use holdfast_protocol::position::Position;
use holdfast_protocol::wire::{
    AckPart, Answer, Ask, Capacity, Cause, Change, Command, CommandItem, Condition, Content, Delivery, Discover, Fence,
    HandedOver, Handled, Item, Kept, Lane, Leaving, Lingering, Move, MoveStep, NodeBeat, NodeBound, NodeState, Packet,
    PacketBuilder, ReceiptAsk, ReceiptPart, Report, RosterBatch, RouterBeat, RouterBound, RouterState, Snapshot,
    SnapshotEntry, Target, TraceContext, WireError,
};

fn node() -> NodeId {
    NodeId::parse("g0123456789b").expect("an id")
}

fn router() -> NodeId {
    NodeId::parse("rzyxwvtsrqpn").expect("an id")
}

fn connection() -> ConnectionId {
    ConnectionId::new(node(), [0xA5; 16])
}

fn plain_delivery() -> Delivery {
    Delivery {
        targets: vec![Target::User("42".into())],
        id: "m1".into(),
        event: None,
        content: Content::Text,
        payload: Bytes::from_static(b"hi"),
        received_ms: 1_700_000_000_000,
        expires_ms: None,
        key: None,
        destination: None,
        only: vec![],
        except_connections: vec![],
        except_users: vec![],
        receipt: None,
        trace: None,
        kept: None,
    }
}

fn full_delivery() -> Delivery {
    Delivery {
        targets: vec![Target::Room("chat/5".into()), Target::Connection(connection()), Target::All],
        event: Some("message.new".into()),
        content: Content::Json,
        payload: Bytes::from_static(b"{\"a\":1}"),
        expires_ms: Some(1_700_000_000_300),
        key: Some("price/a".into()),
        destination: Some("/topic/x".into()),
        only: vec![Condition { name: "role".into(), value: "admin".into() }],
        except_connections: vec![connection()],
        except_users: vec!["7".into()],
        receipt: Some(ReceiptAsk { number: 300, acked: true, timeout_ms: 5000 }),
        trace: Some(TraceContext { parent: "00-p".into(), state: "s=1".into() }),
        kept: Some(Kept { epoch: "e1".into(), seq: u64::MAX, previous: 0 }),
        ..plain_delivery()
    }
}

fn commands() -> Vec<Item> {
    let receipt = Some(ReceiptAsk { number: 1, acked: false, timeout_ms: 400 });
    let all = [
        Command::Join { room: "r".into() },
        Command::Leave { room: "r".into() },
        Command::Disconnect { code: 4321, reason: "bye".into(), device: Some("ios".into()) },
        Command::Expire { jti: "j".into() },
        Command::Pause,
        Command::Resume,
        Command::Replace,
        Command::Drain,
        Command::Uncordon,
        Command::Shed { percent: 5 },
    ];
    let item = |command| Item::Command(CommandItem { targets: vec![Target::User("42".into())], command, receipt });
    all.into_iter().map(item).collect()
}

fn questions() -> Vec<Item> {
    let all = [
        Ask::User { user: "42".into() },
        Ask::Room { room: "r".into(), after: Some(connection()), limit: 101 },
        Ask::Connection { connection: connection() },
        Ask::Count,
    ];
    all.into_iter().enumerate().map(|(number, ask)| Item::Ask { number: number as u64, ask }).collect()
}

fn packet(items: Vec<Item>) -> NodeBound {
    NodeBound::Packet(Packet { router: router(), number: 9, term: 200, items })
}

fn node_beat() -> NodeBeat {
    let mut digests = Box::new([0; PARTITIONS]);
    (digests[0], digests[63]) = (1, u64::MAX);
    NodeBeat {
        node: node(),
        state: NodeState::Draining,
        version: "0.1.0".into(),
        connections: 1000,
        spare_handshakes: 50,
        leaving: Some(Leaving { left: 900, rate_milli: 33_333, until_unix_ms: 1_700_000_000_000 }),
        seq: 77,
        digests,
    }
}

fn router_beat() -> RouterBeat {
    RouterBeat {
        router: router(),
        state: RouterState::Leaving,
        number: 5,
        term: 6,
        live: vec![router()],
        moving: true,
        fences: vec![Fence { router: router(), term: 4 }],
        kept: Position::new("e1", 17),
        capacity: Capacity { takers: 3, spare_handshakes: 1500, leaving: 900, rate_milli: 33_333 },
        sections: 1,
    }
}

fn roster() -> RosterBatch {
    let user = || "42".into();
    let changes = vec![
        Change::UserUp { user: user(), cause: Cause::Connect },
        Change::UserDown { user: user(), cause: Cause::Expired },
        Change::Room { room: "chat/5".into(), count: 130, cause: Cause::Ctl },
        Change::Claim { user: user(), connection: connection(), since_ms: 1_700_000_000_000 },
        Change::Unclaim { user: user(), connection: connection() },
    ];
    RosterBatch { node: node(), seq: 3, since_ms: 1_700_000_000_000, changes }
}

fn report() -> RouterBound {
    RouterBound::Report(Report {
        node: node(),
        receipts: vec![ReceiptPart {
            number: 1,
            matched: 6,
            written: 3,
            queued: 2,
            filtered: 4,
            dropped: 1,
            ackable: 5,
        }],
        acks: vec![AckPart { number: 1, acked: 2, gone: 1 }],
        answers: vec![Answer { number: 2, total: 128, entries: vec!["{}".into()] }],
    })
}

fn snapshot() -> RouterBound {
    let entries = vec![
        SnapshotEntry::User("42".into()),
        SnapshotEntry::Room("chat/5".into(), 2),
        SnapshotEntry::Claim("42".into(), connection(), 1_700_000_000_000),
        SnapshotEntry::Lately(Change::UserUp { user: "42".into(), cause: Cause::Connect }, 2, 900),
        SnapshotEntry::Lately(Change::Room { room: "chat/6".into(), count: 0, cause: Cause::Close }, 3, 20),
    ];
    RouterBound::Snapshot(Snapshot { node: node(), seq: 3, part: 1, last: true, entries })
}

fn handled() -> RouterBound {
    let end = HandedOver { packets: vec![(node(), 300)], facts: vec![7] };
    let keys = vec![1, u64::MAX];
    let (from, mover) = (router(), router());
    let gone = Lingering { user: "ana".into(), left_ms: 300, node: node(), seq: 9, cause: Cause::Close };
    let lingering = vec![gone];
    RouterBound::Handled(Handled { from, mover, number: 2, lane: Lane::Ctl, keys, lingering, end: Some(end) })
}

fn a_move() -> Move {
    Move { mover: router(), number: 300, step: MoveStep::Start, before: vec![], after: vec![router()] }
}

type Again = fn(Bytes) -> Result<Bytes, WireError>;

/// Each message: its file, its bytes, and how it is read and written again.
fn messages() -> Vec<(&'static str, Bytes, Again)> {
    let node_bound: Again = |bytes| NodeBound::decode(bytes).map(|message| message.encode());
    let router_bound: Again = |bytes| RouterBound::decode(bytes).map(|message| message.encode());
    let deliveries = vec![Item::Deliver(plain_delivery()), Item::Deliver(full_delivery())];
    vec![
        ("packet_deliveries", packet(deliveries).encode(), node_bound),
        ("packet_commands", packet(commands()).encode(), node_bound),
        ("packet_questions", packet(questions()).encode(), node_bound),
        (
            "roster_ack",
            NodeBound::RosterAck { router: router(), seq: 300, kept: Position::new("e1", 17) }.encode(),
            node_bound,
        ),
        ("snapshot_ask", NodeBound::SnapshotAsk { router: router() }.encode(), node_bound),
        ("packet_after", packet(vec![Item::After { router: router(), number: 300 }]).encode(), node_bound),
        ("handled", handled().encode(), router_bound),
        ("fenced", RouterBound::Fenced(300).encode(), router_bound),
        ("move", a_move().encode(), |bytes| Move::decode(bytes).map(|step| step.encode())),
        ("ping", NodeBound::Ping.encode(), node_bound),
        ("report", report().encode(), router_bound),
        ("snapshot", snapshot().encode(), router_bound),
        ("roster", roster().encode(), |bytes| RosterBatch::decode(bytes).map(|batch| batch.encode())),
        ("node_beat", node_beat().encode(), |bytes| NodeBeat::decode(bytes).map(|beat| beat.encode())),
        ("router_beat", router_beat().encode(), |bytes| RouterBeat::decode(bytes).map(|beat| beat.encode())),
        ("discover", Discover { router: router() }.encode(), |bytes| Discover::decode(bytes).map(Discover::encode)),
    ]
}

fn hex(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two hex digits")).collect()
}

#[test]
fn each_message_is_written_as_it_always_was() {
    for (name, bytes, _) in messages() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(hex(&bytes), golden, "{name}");
    }
}

#[test]
fn each_message_is_read_and_written_again_unchanged() {
    for (name, bytes, again) in messages() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let golden = Bytes::from(unhex(&golden));
        assert_eq!(again(golden).as_ref(), Ok(&bytes), "{name}");
    }
}

#[test]
fn no_message_is_read_from_a_part_of_itself_or_with_more_behind_it() {
    for (name, bytes, again) in messages() {
        for length in 0..bytes.len() {
            // A packet ends where its items do: cut between two of them, it is one with fewer.
            let cut = again(bytes.slice(..length));
            assert!(cut.is_err() || cut.as_ref() == Ok(&bytes.slice(..length)), "{name} cut at {length}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0xFF);
        assert!(again(longer.into()).is_err(), "{name} with a byte more");
        let mut other = bytes.to_vec();
        other[0] = 2;
        assert_eq!(again(other.into()), Err(WireError::Version(2)), "{name}");
    }
}

#[test]
fn a_claimed_length_reserves_nothing() {
    // A list of 2^40 entries in a message of a few bytes.
    let mut bytes = vec![1, 1];
    bytes.extend_from_slice(node().as_str().as_bytes());
    bytes.extend_from_slice(&[0, 0, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]);
    assert_eq!(RouterBound::decode(bytes.into()), Err(WireError::Short));
}

#[test]
fn a_delivery_encoded_once_is_the_same_as_an_item() {
    for delivery in [plain_delivery(), full_delivery()] {
        let (mut by_item, mut by_reference) = (PacketBuilder::default(), PacketBuilder::default());
        by_item.push(&Item::Deliver(delivery.clone()));
        let mut encoded = bytes::BytesMut::new();
        delivery.as_ref().encode_into(&mut encoded);
        by_reference.push_delivery(delivery.targets.iter().map(Target::as_ref), &encoded);
        assert_eq!(by_item.finish(router(), 1, 1), by_reference.finish(router(), 1, 1));
    }
}
