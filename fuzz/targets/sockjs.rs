//! SockJS framing: our reader agrees with serde_json wherever no surrogate stands alone, which only ours forgives; and
//! what is framed is read again alike, by us and by any JSON reader.
#![no_main]

use holdfast_protocol::dialect::sockjs;
use libfuzzer_sys::fuzz_target;

fn judged(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(text).map(|one| vec![one])).ok()
}

fn frames(message: &str) {
    let mut frame = Vec::new();
    sockjs::message_into(message, &mut frame);
    let text = std::str::from_utf8(&frame).expect("a frame is text");
    let array = text.strip_prefix('a').expect("a frame of messages");
    assert!(!text.contains(['\n', '\r', '\u{2028}', '\u{200c}', '\u{fff0}', '\0']), "what proxies change is escaped");
    assert_eq!(sockjs::read(array).expect("our own"), [message]);
    assert_eq!(judged(array).expect("JSON"), [message]);
    let close = String::from_utf8(sockjs::close(3000, message)).expect("text");
    let parts: (u16, String) = serde_json::from_str(close.strip_prefix('c').expect("a close")).expect("JSON");
    assert_eq!(parts, (3000, message.to_owned()));
}

fuzz_target!(|text: &str| {
    match (sockjs::read(text), judged(text)) {
        (Ok(read), Some(judged)) => assert_eq!(read, judged),
        // Half a pair.
        (Ok(read), None) => assert!(read.iter().any(|message| message.contains(char::REPLACEMENT_CHARACTER))),
        (Err(_), None) => {}
        (Err(_), Some(judged)) => panic!("refused: {judged:?}"),
    }
    frames(text);
});
