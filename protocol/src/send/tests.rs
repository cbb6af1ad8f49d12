//! Headers of a send: what is read, what is refused and how.

use super::*;
use crate::id::NodeId;

fn parse<'a>(headers: &'a [(&'a str, &'a str)]) -> Result<SendOptions<'a>, HeaderError> {
    SendOptions::parse(headers)
}

fn refusal(name: &str, value: &str) -> String {
    parse(&[(name, value)]).expect_err(value).to_string()
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn each_header_is_read_whatever_its_case() {
    let id = ConnectionId::new(NodeId::gateway([1; 8]), [2; 16]).to_string();
    let headers = [
        ("HF-ID", "my-id"),
        ("hf-type", "message.new"),
        ("content-type", "application/json"),
        ("Hf-Only", "role=admin, device=i=2COS"),
        ("hf-except-CONNECTION", &*id),
        ("Hf-Except-User", "42, a=2Cb"),
        ("Hf-Ttl", "0"),
        ("Hf-Key", "price/a"),
        ("Hf-Destination", "/topic/x"),
        ("Hf-Receipt", "acked"),
        ("Hf-Timeout", "700"),
        ("Hf-To", "user:42"),
        ("Traceparent", TRACE),
        ("tracestate", "a=b"),
        ("X-Other", "\u{1}"),
        ("Hf-User", "ignored"),
    ];

    let options = parse(&headers).expect("well formed");

    assert_eq!((options.id, options.event), (Some("my-id"), Some("message.new")));
    assert_eq!((options.content_type, options.ttl_ms), (Some("application/json"), Some(0)));
    let only: Vec<_> = options.only.iter().map(|c| (&*c.name, &*c.value)).collect();
    assert_eq!(only, [("role", "admin"), ("device", "i,OS")]);
    assert_eq!(options.except_connections, [ConnectionId::parse(&id).expect("an id")]);
    assert_eq!(options.except_users, [Text::from("42"), Text::from("a,b")]);
    assert_eq!((options.key, options.destination), (Some("price/a"), Some("/topic/x")));
    assert_eq!((options.receipt, options.receipt_timeout_ms()), (ReceiptMode::Acked, 700));
    assert_eq!((options.to, options.trace), (Some("user:42"), Some((TRACE, "a=b"))));
}

#[test]
fn nothing_asked_for_means_the_defaults() {
    let options = parse(&[]).expect("well formed");
    assert_eq!(options, SendOptions::default());
    assert_eq!(options.receipt_timeout_ms(), 400);
    assert_eq!(parse(&[("Hf-Receipt", "acked")]).map(|options| options.receipt_timeout_ms()), Ok(5000));
}

#[test]
fn a_malformed_header_is_named() {
    let long = "x".repeat(129);
    let many = vec!["a"; 1001].join(",");
    for (name, values) in [
        ("Hf-Id", &["", "a\tb", &long][..]),
        ("Hf-Type", &["", &long]),
        ("Hf-Ttl", &["soon", "-5", "+5", "1.5", "", "99999999999999999999"]),
        ("Hf-Timeout", &["soon", "-1", "", "300001"]),
        ("Hf-Key", &["", &long]),
        ("Hf-Receipt", &["maybe", "", "ACKED"]),
        ("Hf-Only", &["", "role", "role=admin,", "=x", "a=b=zz", &many]),
        ("Hf-Except-User", &["", "a,,b", "a=zz", "a=41", &many]),
        ("Hf-Except-Connection", &["", "x,"]),
        ("Hf-Destination", &["", "a\u{7}"]),
    ] {
        for value in values {
            let text = refusal(name, value);
            assert!(text.starts_with(name), "{name}: {value:?}: {text}");
        }
    }
}

#[test]
fn a_header_that_is_no_list_comes_once() {
    assert_eq!(parse(&[("Hf-Id", "a"), ("hf-id", "b")]), Err(HeaderError::Repeated("Hf-Id")));
    assert_eq!(parse(&[("Hf-Receipt", "written"), ("Hf-Receipt", "acked")]), Err(HeaderError::Repeated("Hf-Receipt")));
    assert_eq!(parse(&[("Hf-Except-User", "a"), ("Hf-Except-User", "b")]).map(|o| o.except_users.len()), Ok(2));
}

#[test]
fn strangers_among_excepted_connections_except_nobody() {
    assert_eq!(parse(&[("Hf-Except-Connection", "stranger")]).map(|o| o.except_connections), Ok(vec![]));
}

#[test]
fn only_values_may_be_empty_and_are_decoded() {
    let only = parse(&[("Hf-Only", "a=, b=1=3D2")]).map(|options| options.only).expect("well formed");
    let only: Vec<_> = only.iter().map(|c| (&*c.name, &*c.value)).collect();
    assert_eq!(only, [("a", ""), ("b", "1=2")]);
}

#[test]
fn a_trace_that_is_malformed_is_dropped() {
    let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
    for bad in ["junk", zero, "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", &format!("{TRACE}-x"), ""] {
        assert_eq!(parse(&[("traceparent", bad)]).map(|o| o.trace), Ok(None), "{bad}");
    }
    assert_eq!(parse(&[("tracestate", "a=b")]).map(|o| o.trace), Ok(None));
    let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x";
    assert_eq!(parse(&[("traceparent", later)]).map(|o| o.trace), Ok(Some((later, ""))));
}

#[test]
fn targets_are_read_in_order_once_each() {
    let targets = parse_targets(Some("user:42, room:chat/5 ,connection:abc,user:a=2Cb=3A,user:42,room: x"));
    assert_eq!(
        targets,
        Ok(vec![
            Target::User("42".into()),
            Target::Room("chat/5".into()),
            Target::Connection("abc".into()),
            Target::User("a,b:".into()),
            Target::Room("x".into()),
        ])
    );
    assert_eq!(parse_targets(Some("room:chat=2F5")), Ok(vec![Target::Room("chat/5".into())]));
}

#[test]
fn targets_that_name_nothing_are_refused() {
    assert_eq!(parse_targets(None), Err(HeaderError::Missing("Hf-To")));
    let long = format!("user:{}", "x".repeat(201));
    let many = vec!["user:1"; 1001].join(",");
    for to in ["", "user", "planet:x", "user:", "user:a=ZZ", "user:a,", "user:=41", "all:", &long, &many] {
        let error = parse_targets(Some(to)).expect_err(to).to_string();
        assert!(error.starts_with("Hf-To"), "{to}: {error}");
    }
    assert_eq!(parse_targets(Some(&vec!["user:1"; 1000].join(","))).map(|t| t.len()), Ok(1));
}

#[test]
fn filters_do_not_widen_commands() {
    for header in ["Hf-Only", "Hf-Except-User"] {
        let headers = [(header, "role=2Fx")];
        let options = parse(&headers).expect("well formed");
        assert_eq!(options.check_command(), Err(HeaderError::NotForCommands(header)));
    }
}
