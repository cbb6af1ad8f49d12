//! Subjects of fleets whose routers are in sections: what NATS is to map, and what it has mapped. Knows not who is in which.

use super::Subjects;

impl Subjects {
    /// Sends that NATS maps to one section of the routers.
    pub fn section_all(&self, section: usize) -> String {
        self.join(&format!("int.send.{section}.>"))
    }

    /// The subject on which a send was published that NATS has mapped to a section: `send.user.42` with the prefix, into
    /// `published`. `false` where it is none.
    pub fn published(&self, mapped: &str, published: &mut String) -> bool {
        let Some((_, rest)) = self.strip(mapped, "int.send").and_then(|rest| rest.split_once('.')) else {
            return false;
        };
        published.clear();
        for part in [self.prefix.as_str(), ".send.", rest] {
            published.push_str(part);
        }
        true
    }

    /// What NATS is to be told so that sends to users and rooms reach one section of so many: subject and mapping.
    pub fn section_mappings(&self, sections: usize) -> [(String, String); 2] {
        ["user", "room"].map(|kind| {
            let to = format!("int.send.{{{{partition({sections},1)}}}}.{kind}.{{{{wildcard(1)}}}}");
            (self.join(&format!("send.{kind}.*")), self.join(&to))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_to_a_section_is_named_as_it_was_published() {
        let subjects = Subjects::new("eu.hf");
        let mut published = String::from("the one before");
        assert!(subjects.published("eu.hf.int.send.12.user.a=2Eb", &mut published));
        assert_eq!(published, "eu.hf.send.user.a=2Eb");
        assert!(subjects.published("eu.hf.int.send.0.move", &mut published));
        assert_eq!(published, "eu.hf.send.move");
        for other in ["hf.int.send.0.move", "eu.hf.int.send.0", "eu.hf.send.user.a"] {
            assert!(!subjects.published(other, &mut published), "{other}");
        }
        let [(from, to), _] = subjects.section_mappings(4);
        assert_eq!(
            (from.as_str(), to.as_str()),
            ("eu.hf.send.user.*", "eu.hf.int.send.{{partition(4,1)}}.user.{{wildcard(1)}}")
        );
    }
}
