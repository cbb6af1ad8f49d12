//! What STOMP clients send: receipts, transactions, and a DISCONNECT that waits for both.

use super::*;

#[test]
fn messages_go_upstream_and_are_confirmed_by_receipts() {
    let mut bench = Bench::connected("1.2");
    bench.stomp_check("SEND|destination:/app/chat/5/typing|receipt:r||hi^", &["publish #0 chat|5|typing hi"]);
    bench.stomp_check("SEND|destination:/pub/chat|content-length:3||a^b^", &["publish chat a^b"]);

    bench.apply(Event::Published { ticket: 0, result: Ok(()) });
    assert_eq!(bench.take_stomp(), ["RECEIPT|receipt-id:r||^"]);

    bench.apply(Event::Unpublished(Failure::BusUnavailable));
    bench.expect(&[]);
    let denied = error("forbidden", "nobody may send to this destination", "r");
    bench.stomp_check("SEND|destination:/topic/chat/1|receipt:r||x^", &[&denied, "close 1008"]);
}

#[test]
fn a_message_whose_receipt_cannot_come_ends_the_connection() {
    let mut bench = Bench::connected("1.2");
    bench.frame("SEND|destination:/app/x|receipt:r||^");
    bench.take();

    bench.apply(Event::Published { ticket: 0, result: Err(Failure::BusUnavailable) });

    assert_eq!(bench.take_stomp(), [&*error("bus_unavailable", "the bus is not available", "r"), "close 1014"]);
}

#[test]
fn a_transaction_is_carried_out_in_order_when_it_is_committed() {
    let mut bench = Bench::connected("1.2");
    bench.stomp_check("BEGIN|transaction:t|receipt:b||^", &["RECEIPT|receipt-id:b||^"]);
    bench.stomp_check("SEND|transaction:t|destination:/app/a||1^", &[]);
    bench.stomp_check("ACK|transaction:t|id:m||^", &[]);
    bench.stomp_check("SEND|transaction:t|destination:/app/b||2^", &[]);
    bench.stomp_check("SEND|destination:/app/c||0^", &["publish c 0"]);
    bench.stomp_check("COMMIT|transaction:t|receipt:c||^", &["publish a 1", "acked m", "publish #0 b 2"]);
    bench.apply(Event::Published { ticket: 0, result: Ok(()) });
    assert_eq!(bench.take_stomp(), ["RECEIPT|receipt-id:c||^"]);

    bench.stomp_check("BEGIN|transaction:t||^SEND|transaction:t|destination:/app/a||^", &[]);
    bench.stomp_check("ABORT|transaction:t|receipt:a||^", &["RECEIPT|receipt-id:a||^"]);
    let unknown = error("bad_message", "there is no such transaction", "");
    bench.stomp_check("COMMIT|transaction:t||^", &[&unknown, "close 1002"]);
}

#[test]
fn transactions_are_bounded() {
    let mut bench = Bench::connected("1.2");
    for number in 0..16 {
        bench.stomp_check(&format!("BEGIN|transaction:{number}||^"), &[]);
    }
    let many = error("bad_message", "too many transactions", "");
    bench.stomp_check("BEGIN|transaction:16||^", &[&many, "close 1002"]);

    let mut bench = Bench::connected("1.2");
    bench.frame("BEGIN|transaction:t||^");
    let frame = format!("SEND|transaction:t|destination:/app/a||{}^", "x".repeat(60_000));
    for _ in 0..17 {
        bench.stomp_check(&frame, &[]);
    }
    let large = error("bad_message", "the transaction is too large", "");
    bench.stomp_check(&frame, &[&large, "close 1002"]);
}

#[test]
fn a_disconnect_is_answered_when_all_is_confirmed_and_the_client_closes() {
    let mut bench = Bench::listening();
    bench.frame("SEND|destination:/app/x|receipt:s||^DISCONNECT|receipt:d||^SEND|destination:/app/y||^");
    bench.expect(&["publish #1 x "]);
    assert_eq!(bench.session.variants().count(), 0);

    bench.apply(Event::Published { ticket: 1, result: Ok(()) });
    assert_eq!(bench.take_stomp(), ["RECEIPT|receipt-id:s||^", "RECEIPT|receipt-id:d||^"]);
    bench.tick_after(Duration::from_millis(2999));
    bench.expect(&[]);
    bench.tick_after(Duration::from_millis(1));
    bench.expect(&["close 1000"]);

    let mut stuck = Bench::connected("1.2");
    stuck.frame("SEND|destination:/app/x|receipt:s||^DISCONNECT|receipt:d||^");
    stuck.take();
    stuck.tick_after(Duration::from_secs(2));
    assert_eq!(stuck.take_stomp(), ["RECEIPT|receipt-id:d||^"]);
}

#[test]
fn a_disconnect_behind_a_message_that_cannot_be_confirmed_has_no_receipt() {
    let mut bench = Bench::listening();
    bench.frame("SEND|destination:/app/x|receipt:s||^DISCONNECT|receipt:d||^");
    bench.take();

    bench.apply(Event::Published { ticket: 1, result: Err(Failure::BusUnavailable) });

    let said = bench.take_stomp();
    assert!(said[0].starts_with("ERROR|") && said[1].starts_with("close "), "{said:?}");
    assert_eq!(said.len(), 2, "nothing comes after the end: {said:?}");
}
