//! What domain services do in the simulated world of routers, and what they hear.

use super::*;

impl World {
    /// A message of a domain service, as every router that works hears it. Its answers go to `inbox`.
    pub(in crate::core::tests) fn publish(&mut self, subject: &str, headers: &[(&str, &str)], payload: &[u8]) {
        self.publish_from(subject, headers, payload, Some("inbox"));
    }

    pub(in crate::core::tests) fn publish_from(
        &mut self,
        subject: &str,
        headers: &[(&str, &str)],
        payload: &[u8],
        reply: Option<&str>,
    ) {
        let message = Message {
            subject: subject.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            payload: payload.to_vec(),
            reply: reply.map(str::to_owned),
        };
        for at in 0..self.members.len() {
            let member = &mut self.members[at];
            if member.seen.works && !member.deaf {
                member.seen.unread.push(message.clone());
                self.read(at);
            }
        }
    }

    /// Takes the answers of all routers.
    pub(in crate::core::tests) fn answers(&mut self) -> Vec<Result<Bytes, ServiceError>> {
        let answers = self.members.iter_mut().flat_map(|member| member.seen.answers.drain(..));
        answers.map(|(_, body)| body).collect()
    }

    /// The one receipt of a send without headers.
    pub(in crate::core::tests) fn send(&mut self, subject: &str) -> Receipt {
        self.send_with(subject, &[])
    }

    pub(in crate::core::tests) fn send_with(&mut self, subject: &str, headers: &[(&str, &str)]) -> Receipt {
        self.publish(subject, headers, b"1");
        let answers = self.answers();
        match &answers[..] {
            [Ok(body)] => serde_json::from_slice(body).expect("a receipt"),
            other => panic!("{subject}: not one receipt: {other:?}"),
        }
    }

    /// The one error of a message.
    pub(in crate::core::tests) fn error(
        &mut self,
        subject: &str,
        headers: &[(&str, &str)],
        payload: &[u8],
    ) -> (u16, String) {
        self.publish(subject, headers, payload);
        let answers = self.answers();
        match &answers[..] {
            [Err(error)] => (error.code, error.text.clone()),
            other => panic!("{subject}: not one error: {other:?}"),
        }
    }

    /// Takes the facts of all routers, in the order of routers.
    pub(in crate::core::tests) fn facts(&mut self) -> Vec<(String, serde_json::Value)> {
        self.members.iter_mut().flat_map(|member| member.seen.facts.drain(..)).collect()
    }

    pub(in crate::core::tests) fn router_mut(&mut self, at: usize) -> &mut Member {
        &mut self.members[at]
    }
}
