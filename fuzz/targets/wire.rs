//! Internal messages: any bytes are refused or read, and what was read is written and read again alike.
#![no_main]

use bytes::Bytes;
use holdfast_protocol::wire::{Discover, NodeBeat, NodeBound, RosterBatch, RouterBeat, RouterBound};
use libfuzzer_sys::fuzz_target;

macro_rules! round_trip {
    ($kind:ty, $bytes:expr) => {
        if let Ok(message) = <$kind>::decode($bytes.clone()) {
            assert_eq!(<$kind>::decode(message.encode()).as_ref(), Ok(&message));
        }
    };
}

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    round_trip!(NodeBound, bytes);
    round_trip!(RouterBound, bytes);
    round_trip!(RosterBatch, bytes);
    round_trip!(NodeBeat, bytes);
    round_trip!(RouterBeat, bytes);
    round_trip!(Discover, bytes);
});
