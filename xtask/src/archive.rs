//! A tar.gz whose bytes depend on nothing but names, contents and one time.

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use std::fs;
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// A file of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Below the archive's one folder.
    pub(crate) path: String,
    bytes: Vec<u8>,
    executable: bool,
}

impl Entry {
    /// A file that is there.
    pub(crate) fn read(file: &Path, path: String, executable: bool) -> Result<Self> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self { path, bytes, executable })
    }
}

/// All of them below `folder`, sorted, owned by root, of this time.
pub(crate) fn pack(folder: &str, mut entries: Vec<Entry>, time_s: u64) -> Result<Vec<u8>> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    // No time and no name in the head of gzip itself, and the same "operating system" everywhere.
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    let mut tar = Builder::new(gzip);
    for entry in &entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(if entry.executable { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root").context("a name")?;
        header.set_groupname("root").context("a name")?;
        header.set_mtime(time_s);
        header.set_size(entry.bytes.len() as u64);
        let path = format!("{folder}/{}", entry.path);
        tar.append_data(&mut header, &path, entry.bytes.as_slice()).with_context(|| format!("cannot pack {path}"))?;
    }
    let gzip = tar.into_inner().context("cannot end the archive")?;
    gzip.finish().context("cannot end the archive")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read as _;

    fn entry(path: &str, text: &str, executable: bool) -> Entry {
        Entry { path: path.to_owned(), bytes: text.as_bytes().to_vec(), executable }
    }

    #[test]
    fn the_same_files_make_the_same_bytes_in_whatever_order_they_come() {
        let (a, b) = (entry("bin/a", "program", true), entry("LICENSE", "text", false));

        let one = pack("x-1", vec![a.clone(), b.clone()], 1_700_000_000).unwrap();
        let other = pack("x-1", vec![b, a], 1_700_000_000).unwrap();

        assert_eq!(one, other);
    }

    #[test]
    fn entries_are_sorted_owned_by_root_and_of_the_given_time() {
        let packed = pack("x-1", vec![entry("bin/a", "program", true), entry("LICENSE", "text", false)], 1_700_000_000);
        let mut archive = tar::Archive::new(GzDecoder::new(packed.as_deref().unwrap()));

        let mut seen = Vec::new();
        for file in archive.entries().unwrap() {
            let mut file = file.unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            let header = file.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 1_700_000_000));
            assert_eq!(header.username().unwrap(), Some("root"));
            seen.push((file.path().unwrap().display().to_string(), header.mode().unwrap(), text));
        }

        let wanted = [("x-1/LICENSE", 0o644, "text"), ("x-1/bin/a", 0o755, "program")];
        assert_eq!(seen, wanted.map(|(path, mode, text)| (path.to_owned(), mode, text.to_owned())));
    }
}
