//! Escapes in header names and values, per version.

use super::version::Version;

/// Decodes a header field of a client frame. `None` where the version says that the sequence is fatal.
///
/// 1.0 has no escapes and pads with spaces. 1.1 clients in the field do not escape at all, so a sequence they cannot
/// have meant stays as it is; 1.2 is strict.
pub(super) fn decode(version: Version, field: &str) -> Option<String> {
    if version == Version::V1_0 {
        return Some(field.trim_matches(' ').to_owned());
    }
    let mut out = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('c') => out.push(':'),
            Some('\\') => out.push('\\'),
            Some('r') => out.push('\r'),
            _ if version == Version::V1_2 => return None,
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    Some(out)
}

/// Appends a header field of a server frame.
pub(super) fn encode(version: Version, field: &str, out: &mut Vec<u8>) {
    // Hardly any has something to escape. Looked through to its end, which compilers do many bytes at a time.
    let is_special = |byte| matches!(byte, b'\r' | b'\n' | 0 | b':' | b'\\');
    if !field.bytes().fold(false, |found, byte| found | is_special(byte)) {
        return out.extend_from_slice(field.as_bytes());
    }
    for &byte in field.as_bytes() {
        match (byte, version) {
            (b'\r' | b'\n', Version::V1_0) => out.push(b' '),
            (b'\r', Version::V1_1) | (0, _) => {}
            (b'\r', Version::V1_2) => out.extend_from_slice(b"\\r"),
            (b'\n', _) => out.extend_from_slice(b"\\n"),
            (b':', Version::V1_1 | Version::V1_2) => out.extend_from_slice(b"\\c"),
            (b'\\', Version::V1_1 | Version::V1_2) => out.extend_from_slice(b"\\\\"),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_own_escapes() {
        for (version, field, expected) in [
            (Version::V1_0, " /pub/chat ", Some("/pub/chat")),
            (Version::V1_0, "a\\n", Some("a\\n")),
            (Version::V1_1, "a\\cb\\n\\\\", Some("a:b\n\\")),
            (Version::V1_1, "a\\tb\\", Some("a\\tb\\")),
            (Version::V1_2, "a\\r\\n\\c\\\\", Some("a\r\n:\\")),
            (Version::V1_2, "a\\t", None),
            (Version::V1_2, "a\\", None),
        ] {
            assert_eq!(decode(version, field).as_deref(), expected, "{version:?} {field}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        for version in [Version::V1_1, Version::V1_2] {
            let mut bytes = Vec::new();
            encode(version, "a:b\\c\nd 한", &mut bytes);

            let text = String::from_utf8(bytes).unwrap();

            assert!(!text.contains([':', '\n']));
            assert_eq!(decode(version, &text).as_deref(), Some("a:b\\c\nd 한"));
        }
    }
}
