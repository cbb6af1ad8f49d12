//! Content detection: our judge of JSON agrees with serde_json wherever that one's depth limit does not speak first.
#![no_main]

use holdfast_protocol::content;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let deep = data.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > 100;
    if !deep && std::str::from_utf8(data).is_ok() {
        let judged = serde_json::from_slice::<&serde_json::value::RawValue>(data).is_ok();
        assert_eq!(content::is_json(data), judged);
    }
});
